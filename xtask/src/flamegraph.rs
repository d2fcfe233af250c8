//! `cargo xtask flamegraph SCENARIO`: where the broker's time goes under a load.
//!
//! Builds, runs the scenario with `ringmq-bench`, which lets `perf` sample the broker after the
//! measurement, and draws what was sampled. An SVG and a page about it go to `flamegraphs/`.
//! Invariant: the page names the command, the commit and the machine.

use crate::process::{cargo, program, root};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
/// Narrower frames are left out.
const WIDTH_MIN: f64 = 0.4;
const LETTER: f64 = 6.6;
/// How many functions the page names.
const TOP: usize = 15;

/// Builds, runs, draws; `changes` are KEY=VALUE words of the scenario.
pub(crate) fn run(scenario: &str, changes: &[String]) -> Result<()> {
    cargo([
        "build",
        "--release",
        "--package",
        "ringmq",
        "--package",
        "bench-harness",
    ])
    .run()?;
    let work = root().join("target/flamegraph");
    fs::create_dir_all(&work)?;
    let data = work.join("perf.data");
    let given = ["run", scenario, "--short", "--broker", "ringmq"];
    let bench = program(root().join("target/release/ringmq-bench"))
        .arguments(given)
        .arguments(["--out", "target/flamegraph/results"])
        .arguments([
            "counter-seconds=5".to_owned(),
            format!("profile={}", data.display()),
        ])
        .arguments(changes);
    let said = bench.run_and_read()?;
    let data = data.to_string_lossy().into_owned();
    let text = program("perf")
        .arguments(["script", "--no-inline", "-i", &data])
        .read()?;
    let stacks = fold(&text);
    ensure!(
        !stacks.is_empty(),
        "perf has no samples of the broker in {data}"
    );
    let (date, commit) = (
        read("date", &["+%F"])?,
        read("git", &["describe", "--always", "--dirty", "--abbrev=7"])?,
    );
    let name = format!("{date}-{}-{commit}", scenario.to_lowercase());
    let line = format!("cargo xtask flamegraph {scenario} {}", changes.join(" "));
    let svg = root().join(format!("flamegraphs/{name}.svg"));
    fs::write(&svg, draw(&stacks, &format!("{scenario}, commit {commit}")))?;
    fs::write(
        svg.with_extension("md"),
        page(&stacks, line.trim(), &commit, &said),
    )?;
    println!("flamegraphs/{name}.svg");
    Ok(())
}

fn read(name: &str, arguments: &[&str]) -> Result<String> {
    Ok(program(name).arguments(arguments).read()?.trim().to_owned())
}

/// Samples by stack, outermost function first; the first is the thread's name.
type Stacks = BTreeMap<Vec<String>, u64>;

/// Reads `perf script`: a line for each sample, then its functions, innermost first, then an empty line.
fn fold(text: &str) -> Stacks {
    let mut stacks = Stacks::new();
    for sample in text.split("\n\n") {
        let mut lines = sample
            .lines()
            .skip_while(|line| line.starts_with('#') || line.trim().is_empty());
        let Some(head) = lines.next() else { continue };
        // `shard-0  1234 56.789:  1001001 cpu-clock:`; a name may have blanks.
        let thread = head
            .split_whitespace()
            .take_while(|word| word.parse::<u32>().is_err());
        let mut stack: Vec<String> = lines.filter_map(function).collect();
        if stack.is_empty() {
            continue;
        }
        stack.push(thread.collect::<Vec<_>>().join(" "));
        stack.reverse();
        *stacks.entry(stack).or_default() += 1;
    }
    stacks
}

/// `  7f12 name+0x1f (/path)`
fn function(line: &str) -> Option<String> {
    let (_, rest) = line.trim().split_once(' ')?;
    let (name, _) = rest.rsplit_once(" (").unwrap_or((rest, ""));
    let name = name.rsplit_once("+0x").map_or(name, |(name, _)| name);
    // The hash that rustc puts at the end of a symbol.
    let hash = name.rfind("::h").filter(|at| name.len() == at + 19);
    let name = hash.map_or(name, |at| &name[..at]);
    Some(if name == "[unknown]" {
        "?".to_owned()
    } else {
        name.to_owned()
    })
}

#[derive(Default)]
struct Frame {
    count: u64,
    inner: BTreeMap<String, Frame>,
}

/// One SVG: a rectangle for each function, as wide as its share, with its name to hover over.
fn draw(stacks: &Stacks, title: &str) -> String {
    let mut all = Frame::default();
    for (stack, count) in stacks {
        let mut frame = &mut all;
        frame.count += count;
        for name in stack {
            frame = frame.inner.entry(name.clone()).or_default();
            frame.count += count;
        }
    }
    let depth = stacks.keys().map(Vec::len).max().unwrap_or(0);
    let height = ROW * (depth as f64 + 3.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text x=\"8\" y=\"14\" font-size=\"13\">{} ({} samples)</text>\n",
        escape(title),
        all.count
    );
    let scale = WIDTH / all.count.max(1) as f64;
    draw_inner(&mut svg, &all, 0.0, height - ROW, scale, all.count);
    svg + "</svg>\n"
}

fn draw_inner(svg: &mut String, frame: &Frame, left: f64, top: f64, scale: f64, all: u64) {
    let mut left = left;
    for (name, inner) in &frame.inner {
        let width = inner.count as f64 * scale;
        if width >= WIDTH_MIN {
            let share = inner.count as f64 * 100.0 / all as f64;
            let letters = (width / LETTER) as usize;
            let label: String = if letters < 4 {
                String::new()
            } else {
                name.chars().take(letters).collect()
            };
            let _ = writeln!(
                svg,
                "<g><title>{} ({} samples, {share:.2} %)</title><rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" \
                 fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                escape(name),
                inner.count,
                top - ROW,
                (width - 0.3).max(0.2),
                ROW - 1.0,
                colour(name),
                left + 2.0,
                top - 5.0,
                escape(&label)
            );
            draw_inner(svg, inner, left, top - ROW, scale, all);
        }
        left += width;
    }
}

/// One colour for ours, one for the kernel, one for everything else.
fn colour(name: &str) -> &'static str {
    const OURS: &[&str] = &[
        "ringmq",
        "broker",
        "store",
        "shard",
        "remoting",
        "rt_glommio",
        "base",
        "filter",
    ];
    let is_ours = OURS.iter().any(|name_of_crate| {
        let start = name.trim_start_matches(['<', '&', '_']);
        start.starts_with(&format!("{name_of_crate}::"))
    });
    match name {
        _ if is_ours => "#f2a65a",
        _ if name.contains("::") => "#f6d186",
        _ => "#9ecae1",
    }
}

fn page(stacks: &Stacks, line: &str, commit: &str, said: &[String]) -> String {
    let all: u64 = stacks.values().sum();
    let mut own: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, count) in stacks {
        if let Some(innermost) = stack.last() {
            *own.entry(innermost).or_default() += count;
        }
    }
    let mut own: Vec<_> = own.into_iter().collect();
    own.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let mut page = format!(
        "# {line}, commit {commit}\n\n```\n{line}\n```\n\nThe broker's process, sampled by `perf` 999 times a second for 5 s \
         under the load after the\nmeasurement. Orange: ours; yellow: other Rust; blue: kernel and C. What the run gave:\n\n```\n"
    );
    for line in said {
        page.push_str(line);
        page.push('\n');
    }
    page.push_str("```\n\n| function | own samples |\n|---|---|\n");
    for (name, count) in own.iter().take(TOP) {
        let _ = writeln!(
            page,
            "| `{}` | {:.1} % |",
            name.replace('|', "\\|"),
            *count as f64 * 100.0 / all as f64
        );
    }
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "shard-0 5678 12.34:    1001001 cpu-clock:\n\
        \tffff81 copy_user+0x1f ([kernel.kallsyms])\n\
        \t5555 <store::Log as rt::X>::append::h0123456789abcdef+0x40 (/bin/ringmq)\n\
        \t5554 main+0x2 (/bin/ringmq)\n\n\
        shard-0 5678 12.35:    1001001 cpu-clock:\n\
        \t5554 main+0x2 (/bin/ringmq)\n\n\
        io worker 1 5679 12.36: 1 cpu-clock:\n\
        \t0 [unknown] (?)\n";

    #[test]
    fn samples_fold_to_stacks_from_thread_to_innermost() {
        let stacks = fold(SCRIPT);
        let stack = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let inner = stack(&[
            "shard-0",
            "main",
            "<store::Log as rt::X>::append",
            "copy_user",
        ]);
        assert_eq!(stacks.get(&inner), Some(&1));
        assert_eq!(stacks.get(&stack(&["shard-0", "main"])), Some(&1));
        assert_eq!(stacks.get(&stack(&["io worker", "?"])), Some(&1));
    }

    #[test]
    fn a_drawing_has_a_frame_for_each_function_and_no_raw_markup() {
        let svg = draw(&fold(SCRIPT), "a & b");
        assert!(svg.contains("a &amp; b (3 samples)"));
        assert!(svg.contains("&lt;store::Log as rt::X&gt;::append (1 samples, 33.33 %)"));
        assert_eq!(svg.matches("<g>").count(), 6);
        let page = page(&fold(SCRIPT), "cargo xtask flamegraph P1", "abc", &[]);
        assert!(page.contains("| `copy_user` | 33.3 % |"), "{page}");
    }
}
