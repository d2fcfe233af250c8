//! The pages that come from the tables: `docs/configuration.md` and `conf/broker.conf`.
//!
//! Invariant: they say of each key what the tables say; a test fails when the files are stale.

use crate::java::{File, JavaKey, Support};
use crate::keys::{BrokerConfig, EngineConfig, NamesrvConfig, NetConfig, StoreConfig};
use crate::spec::{KeySpec, Reload};
use std::fmt::Write;

type Defaults = Vec<(&'static str, String)>;

/// A table of honoured keys with its title and defaults.
struct Section {
    title: &'static str,
    specs: &'static [KeySpec],
    defaults: Defaults,
}

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for section in broker_sections() {
        honoured(&mut page, &section);
    }
    others(
        &mut page,
        "Keys of the Java broker that are refused or ignored",
        File::Broker,
    );
    honoured(
        &mut page,
        &Section {
            title: "Name server (`namesrv.conf`)",
            specs: NamesrvConfig::KEYS,
            defaults: NamesrvConfig::default().to_properties(),
        },
    );
    others(
        &mut page,
        "Keys of the Java name server that are refused or ignored",
        File::Namesrv,
    );
    page
}

/// `conf/broker.conf`: the values of the Java distribution's sample, then every other key as a
/// comment with its docs and default.
pub fn conf_template() -> String {
    let mut conf = String::from(SAMPLE);
    for section in broker_sections() {
        let _ = writeln!(conf, "\n# ---- {} ----", section.title);
        for (spec, default) in section.rows() {
            if SAMPLE
                .lines()
                .any(|line| line.split(" = ").next() == Some(spec.name))
            {
                continue;
            }
            conf.push('\n');
            for line in spec.doc.lines() {
                let _ = writeln!(conf, "# {}", line.trim());
            }
            let _ = writeln!(conf, "#{} = {default}", spec.name);
        }
    }
    conf
}

const INTRODUCTION: &str = "\
# Configuration

This page is generated from the tables in `crates/config` by `cargo xtask docs`.

`ringmq broker -c FILE`, `ringmq namesrv -c FILE` and `ringmq standalone -c FILE` read Java properties files: `key=value`,
`#` for comments, UTF-8. Later lines win, and options of the command line win over the file. A key that nobody knows is
told with the nearest known name; a value that does not fit its key stops the start with the line, key, value and what is
expected, exit code 1 (253 for an address of a name server, as in Java). Every key of the Java programs is known, and is
honoured, ignored or refused; what is ignored is told at the start. `-p` prints all honoured keys, `-m` the important ones.

`standalone` reads a broker's file. Its name server has the defaults below; the option `--namesrv-port` sets its port.

*Live*: `mqadmin updateBrokerConfig` changes it at once. **Bold**: important.
";

const SAMPLE: &str = "\
# A broker. Every key, what it means and its default: docs/configuration.md.

brokerClusterName = DefaultCluster
brokerName = broker-a
brokerId = 0
deleteWhen = 04
fileReservedTime = 48
brokerRole = ASYNC_MASTER
flushDiskType = ASYNC_FLUSH
";

impl Section {
    fn rows(&self) -> impl Iterator<Item = (&KeySpec, &str)> {
        let defaults = self.defaults.iter().map(|(_, value)| value.as_str());
        self.specs.iter().zip(defaults)
    }
}

fn broker_sections() -> [Section; 4] {
    let section = |title, specs, defaults| Section {
        title,
        specs,
        defaults,
    };
    [
        section(
            "Broker",
            BrokerConfig::KEYS,
            BrokerConfig::default().to_properties(),
        ),
        section(
            "Store",
            StoreConfig::KEYS,
            StoreConfig::default().to_properties(),
        ),
        section(
            "Network",
            NetConfig::KEYS,
            NetConfig::default().to_properties(),
        ),
        section(
            "Shards and process",
            EngineConfig::KEYS,
            EngineConfig::default().to_properties(),
        ),
    ]
}

fn honoured(page: &mut String, section: &Section) {
    let _ = writeln!(page, "\n## {}\n", section.title);
    page.push_str("| key | default | value | effect | meaning |\n|---|---|---|---|---|\n");
    for (spec, default) in section.rows() {
        let name = if spec.important {
            format!("**{}**", spec.name)
        } else {
            spec.name.to_owned()
        };
        let default = match default {
            "" => String::new(),
            value => format!("`{value}`"),
        };
        let effect = match spec.reload {
            Reload::Live => "live",
            Reload::Restart => "restart",
        };
        let doc: Vec<&str> = spec.doc.lines().map(str::trim).collect();
        let (doc, expected) = (doc.join(" "), spec.expected());
        let _ = writeln!(
            page,
            "| {name} | {default} | {expected} | {effect} | {doc} |"
        );
    }
}

/// Refused and ignored keys, one row for each reason.
fn others(page: &mut String, title: &str, file: File) {
    let _ = writeln!(page, "\n## {title}\n");
    page.push_str("| key | support | why |\n|---|---|---|\n");
    let mut ignored: Vec<(&str, Vec<&str>)> = Vec::new();
    for JavaKey { name, support } in file.keys() {
        match support {
            Support::Honoured => {}
            Support::Refused { accepted, why } => {
                let accepted: Vec<&str> =
                    accepted.iter().copied().filter(|v| !v.is_empty()).collect();
                let accepted = if accepted.is_empty() {
                    "empty".to_owned()
                } else {
                    format!("`{}`", accepted.join("`, `"))
                };
                let _ = writeln!(page, "| {name} | refused unless {accepted} | {why} |");
            }
            Support::Ignored(why) => match ignored.iter_mut().find(|(known, _)| *known == why) {
                Some((_, names)) => names.push(name),
                None => ignored.push((why, vec![name])),
            },
        }
    }
    for (why, names) in ignored {
        let _ = writeln!(page, "| {} | ignored | {why} |", names.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn check(path: &str, generated: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(path);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(&path, generated).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        let stale = written
            .lines()
            .zip(generated.lines())
            .find(|(written, generated)| written != generated);
        assert!(
            written == generated,
            "{} is stale, run `cargo xtask docs`; first difference: {stale:?}",
            path.display(),
        );
    }

    #[test]
    fn the_generated_configuration_page_is_fresh() {
        check("docs/configuration.md", &markdown());
    }

    #[test]
    fn the_generated_broker_sample_is_fresh() {
        check("conf/broker.conf", &conf_template());
    }

    #[test]
    fn the_page_names_every_known_key() {
        let page = markdown();
        for file in [File::Broker, File::Namesrv] {
            for key in file.keys() {
                assert!(page.contains(key.name), "{}", key.name);
            }
        }
    }

    #[test]
    fn every_key_of_the_template_is_accepted_with_its_default() {
        let template = conf_template();
        let uncommented = template.lines().map(|line| {
            let key = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
            key.unwrap_or(line)
        });
        let conf = uncommented.collect::<Vec<_>>().join("\n");
        let loaded = crate::load(&conf, &[]).unwrap();
        assert!(!loaded.warnings.iter().any(crate::Notice::is_warning));
        for spec in File::Broker.specs() {
            assert!(loaded.is_given(spec.name), "{}", spec.name);
        }
    }
}
