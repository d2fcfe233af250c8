//! Features that must not leak: the seeded bugs of `base` are asked for by `simtest` alone.
//!
//! Cargo unites the features of all that it builds together, so one careless dependency would put them
//! into the broker. Read from `cargo metadata`. The broker itself refuses to be compiled with them.

use super::Finding;
use serde_json::Value;
use std::path::PathBuf;

/// The feature that puts bugs in.
const SEEDED: &str = "seeded-bugs";
/// Who has it, and who may ask for it.
const ALLOWED: [&str; 2] = ["base", "simtest"];

/// What a package of ours does with the feature that it must not.
pub(super) fn check(name: &str, package: &Value) -> Option<Finding> {
    let path = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
    let message = objection(name, package)?;
    Some(Finding {
        path,
        line: 1,
        message,
    })
}

fn objection(name: &str, package: &Value) -> Option<String> {
    let has = |list: &Value| {
        let words = list.as_array().into_iter().flatten();
        words.filter_map(Value::as_str).any(|w| w.contains(SEEDED))
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    for dependency in dependencies {
        if has(&dependency["features"]) {
            return Some(format!("{name} must not depend on the feature {SEEDED}"));
        }
    }
    for (feature, asks) in package["features"].as_object().into_iter().flatten() {
        let may = ALLOWED.contains(&name) && feature == SEEDED;
        if (has(asks) || feature == SEEDED) && !may {
            return Some(format!(
                "feature {feature} of {name} must not be or ask for {SEEDED}"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn seeded_bugs_are_asked_for_by_nobody_but_the_sweep() {
        let own = json!({"features": {"seeded-bugs": ["base/seeded-bugs"]}, "dependencies": []});
        assert_eq!(objection("simtest", &own), None);
        assert!(objection("store", &own).is_some());
        let default = json!({"features": {"default": ["seeded-bugs"], "seeded-bugs": []}});
        assert!(objection("base", &default).is_some());
        let asks = json!({"dependencies": [{"name": "base", "features": ["seeded-bugs"]}]});
        assert!(objection("simtest", &asks).is_some());
        let none = json!({"features": {"x": []}, "dependencies": [{"features": ["std"]}]});
        assert_eq!(objection("store", &none), None);
    }
}
