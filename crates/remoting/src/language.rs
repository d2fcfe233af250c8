//! The language that a peer is written in, and the version of the protocol's reference that it
//! follows.
//!
//! Both stand in every header. What must always hold: an unknown language decodes to
//! [`LanguageCode::Other`], never to an error. Answers to Java's `LanguageCode` and `MQVersion`.

macro_rules! languages {
    ($($name:ident = $code:literal, $java:literal;)*) => {
        /// The language of a peer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum LanguageCode {
            $(#[doc = concat!("`", $java, "`, ", $code, ".")] $name = $code,)*
        }

        impl Default for LanguageCode {
            fn default() -> Self {
                Self::Other
            }
        }

        impl LanguageCode {
            /// From the binary header's byte.
            pub const fn from_wire(code: u8) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::Other,
                }
            }

            /// From the JSON header's name.
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($java => Self::$name,)*
                    _ => Self::Other,
                }
            }

            /// The JSON header's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $java,)*
                }
            }
        }
    };
}

languages! {
    Java = 0, "JAVA";
    Cpp = 1, "CPP";
    Dotnet = 2, "DOTNET";
    Python = 3, "PYTHON";
    Delphi = 4, "DELPHI";
    Erlang = 5, "ERLANG";
    Ruby = 6, "RUBY";
    Other = 7, "OTHER";
    Http = 8, "HTTP";
    Go = 9, "GO";
    Php = 10, "PHP";
    Oms = 11, "OMS";
    Rust = 12, "RUST";
    NodeJs = 13, "NODE_JS";
}

impl serde::Serialize for LanguageCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What we announce as our own language: old clients know no other for a broker.
pub const SERVER_LANGUAGE: LanguageCode = LanguageCode::Java;

/// What we announce as our own version: `V5_5_0`.
pub const SERVER_VERSION: i32 = version_ordinal(5, 5, 0);

/// The ordinal of Java's `MQVersion.Version.V<major>_<minor>_<patch>`, for 4.0.0 and later: two
/// entries (snapshot and release) per patch, ten patches per minor, ten minors per major.
pub const fn version_ordinal(major: i32, minor: i32, patch: i32) -> i32 {
    V4_0_0 + (major - 4) * 200 + minor * 20 + patch * 2
}

const V4_0_0: i32 = 213;

/// The name of a version ordinal as tools print it, such as `V5_5_0` or `V4_9_8_SNAPSHOT`; empty
/// for versions before 4.0.0, `HIGHER_VERSION` from 6.0.0 on.
pub fn version_name(ordinal: i32) -> String {
    if ordinal > version_ordinal(5, 9, 9) {
        return "HIGHER_VERSION".to_owned();
    }
    let snapshots = V4_0_0 - 1;
    if ordinal < snapshots {
        return String::new();
    }
    let entry = ordinal - snapshots;
    let (major, minor, patch) = (4 + entry / 200, entry / 20 % 10, entry / 2 % 10);
    let suffix = if entry % 2 == 0 { "_SNAPSHOT" } else { "" };
    format!("V{major}_{minor}_{patch}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_ordinals_of_java() {
        for (version, ordinal) in [
            ((4, 0, 0), 213),
            ((4, 6, 0), 333),
            ((4, 9, 8), 409),
            ((5, 0, 0), 413),
            ((5, 3, 3), 479),
            ((5, 5, 0), 513),
        ] {
            let (major, minor, patch) = version;
            assert_eq!(version_ordinal(major, minor, patch), ordinal);
            assert_eq!(version_name(ordinal), format!("V{major}_{minor}_{patch}"));
        }
        assert_eq!(version_name(408), "V4_9_8_SNAPSHOT");
        assert_eq!(version_name(613), "HIGHER_VERSION");
        assert_eq!(version_name(-1), "");
    }

    #[test]
    fn unknown_languages_are_other() {
        assert_eq!(LanguageCode::from_wire(200), LanguageCode::Other);
        assert_eq!(LanguageCode::from_name("COBOL"), LanguageCode::Other);
        assert_eq!(LanguageCode::from_name("GO"), LanguageCode::Go);
    }
}
