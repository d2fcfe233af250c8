//! The shell scripts in `bin/`, which have the names of the Java distribution.

use crate::support::{Dir, Process, outcome, program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A copy of `bin/` whose scripts look for a program of another name, so that no test stops a
/// broker that runs on this machine for other reasons.
fn scripts(dir: &Dir, name: &str) {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bin");
    fs::create_dir_all(dir.path().join("bin")).unwrap();
    for script in ["mqbroker", "mqnamesrv", "mqshutdown"] {
        let text = fs::read_to_string(bin.join(script)).unwrap();
        let text = text.replace("/ringmq\"", &format!("/{name}\""));
        let text = text.replace("= ringmq ]", &format!("= {name} ]"));
        fs::write(dir.path().join("bin").join(script), text).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_ringmq"), dir.path().join(name)).unwrap();
}

#[test]
fn the_scripts_start_and_stop_programs_from_any_directory() {
    let dir = Dir::new("scripts");
    let name = format!("ringmq-test-{}", std::process::id());
    scripts(&dir, &name);
    let elsewhere = Dir::new("scripts-elsewhere");
    let script = |name: &str, arguments: &[&str]| {
        let path = dir.path().join("bin").join(name).display().to_string();
        let arguments: Vec<&str> = std::iter::once(path.as_str())
            .chain(arguments.iter().copied())
            .collect();
        program("/bin/sh".as_ref(), &elsewhere, &arguments)
    };
    let (code, printed, errors) = outcome(script("mqbroker", &["-m"]));
    assert_eq!(code, Some(0), "{errors}");
    assert!(printed.contains("listenPort=10911"), "{printed}");

    let conf = dir.file("namesrv.conf", "listenPort=23163\n");
    let mut name_server = Process::start(script("mqnamesrv", &["-c", &conf]), "namesrv");
    let id = name_server.id();
    let (code, said, errors) = outcome(script("mqshutdown", &["namesrv"]));
    assert_eq!(code, Some(0), "{said}{errors}");
    assert_eq!(
        said,
        format!(
            "The mqnamesrv({id}) is running...\n\
             Send shutdown request to mqnamesrv({id}) OK\n"
        )
    );
    assert_eq!(name_server.wait().code(), Some(0));
    let (code, said, _) = outcome(script("mqshutdown", &["namesrv"]));
    assert_eq!((code, said.as_str()), (Some(1), "No mqnamesrv running.\n"));
    let (code, said, _) = outcome(script("mqshutdown", &[]));
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "Usage: mqshutdown broker | namesrv\n")
    );
}
