//! docs/compat.md is generated from the routing table, and must not be stale.

use broker::compat_rows;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What the table says of the codes that belong to the name server.
const OF_THE_NAME_SERVER: &str = "a name server serves it";

fn page() -> String {
    let rows = compat_rows();
    let served = rows.iter().filter(|row| row.2.is_ok()).count();
    let name_server = rows
        .iter()
        .filter(|row| row.2 == Err(OF_THE_NAME_SERVER))
        .count();
    let mut page = String::from(
        "# Compatibility: every request code\n\n\
         Generated from the broker's routing table by `cargo xtask docs`; do not edit.\n\n\
         A refused code is answered with 3 (`REQUEST_CODE_NOT_SUPPORTED`) and the reason below. \
         \"Runs on\" is the shard that decides: of the queue, of the group, of the physical \
         offset, the control shard, or the one that has the connection. Inline requests never \
         wait; a task may, for disk or for another shard.\n\n",
    );
    let _ = writeln!(
        page,
        "The broker serves {served} codes, {name_server} belong to the name server, {} are refused.\n",
        rows.len() - served - name_server
    );
    page.push_str("| code | name | broker | runs on, or why not |\n|---|---|---|---|\n");
    for (code, name, row) in rows {
        let (state, text) = match &row {
            Ok(place) => ("served", place.as_str()),
            Err(why) if *why == OF_THE_NAME_SERVER => ("name server", *why),
            Err(why) => ("refused", *why),
        };
        let _ = writeln!(page, "| {code} | `{name}` | {state} | {text} |");
    }
    page
}

#[test]
fn the_generated_compatibility_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compat.md");
    let page = page();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/compat.md is stale, run `cargo xtask docs`"
    );
}

#[test]
fn every_code_that_the_name_server_owns_is_said_so() {
    let rows = compat_rows();
    for code in [103, 104, 105, 106, 206, 224, 304, 322] {
        let row = rows.iter().find(|row| row.0 == code).unwrap();
        assert_eq!(row.2, Err(OF_THE_NAME_SERVER), "{}", row.1);
    }
}
