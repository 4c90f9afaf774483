//! One row of the table of settings, and the macro that writes the table.
//!
//! A setting is declared once: its doc comment, name, type, default and unit. From that one place come the struct
//! field, its default, the documented default file, `config show`, `--set`, the environment and the "did you
//! mean". A setting that is documented but not read, or read but not documented, therefore cannot exist.
//!
//! Values travel as [`toml::Value`] and are turned into their types by serde, one at a time, so that every error
//! can name the exact setting and where its value came from.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::Config;

/// One setting: where it lives, what it means, and how to read and write it.
pub struct Field {
    /// The table it is in; empty for the settings at the top of the file.
    pub section: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// What its value is written in, such as `size` or `ip:port`; for people.
    pub unit: &'static str,
    /// What it does, one line of text an element.
    pub doc: &'static [&'static str],
    pub(super) show: fn(&Config) -> Option<Value>,
    pub(super) set: fn(&mut Config, Value) -> Result<(), String>,
}

impl Field {
    /// The full key, `section.name`.
    #[must_use]
    pub fn key(&self) -> String {
        if self.section.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}.{}", self.section, self.name)
        }
    }

    /// The environment variable that sets it: `CORELOG_SECTION__NAME`.
    #[must_use]
    pub fn env_name(&self) -> String {
        format!(
            "{ENV_PREFIX}{}",
            self.key().replace('.', "__").to_ascii_uppercase()
        )
    }

    /// The value it has in `config`, as it would be written in the file.
    #[must_use]
    pub fn value_text(&self, config: &Config) -> String {
        (self.show)(config).map_or_else(String::new, |value| value.to_string())
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key())
    }
}

/// What every environment variable of ours starts with.
pub const ENV_PREFIX: &str = "CORELOG_";

pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    value
        .try_into()
        .map_err(|error: toml::de::Error| error.message().to_owned())
}

pub(super) fn write<T: Serialize>(value: &T) -> Option<Value> {
    Value::try_from(value).ok()
}

/// Declares one section: a struct with public fields, its `Default`, and its rows of the table.
///
/// `at [kafka]` is the path from [`Config`] to the struct; `at []` is `Config` itself, which also lists its
/// sub-sections.
macro_rules! section {
    (
        $(#[$struct_doc:meta])*
        pub struct $name:ident at $at:tt {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $default:expr, $unit:literal;
            )*
        }
        $(sections { $($(#[$sub_doc:meta])* $sub:ident: $sub_type:ty;)* })?
    ) => {
        $(#[$struct_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
            $($($(#[$sub_doc])* pub $sub: $sub_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($($sub: <$sub_type>::default(),)*)?
                }
            }
        }

        impl $name {
            /// The settings of this section, in the order of the file.
            pub const FIELDS: &'static [$crate::server::config::Field] = &[
                $($crate::server::config::Field {
                    section: $crate::server::config::field::section_name!($at),
                    name: stringify!($field),
                    unit: $unit,
                    doc: &[$($doc),+],
                    show: |config| {
                        $crate::server::config::field::write(&$crate::server::config::field::place!(config, $at, $field))
                    },
                    set: |config, value| {
                        $crate::server::config::field::place!(config, $at, $field) =
                            $crate::server::config::field::read(value)?;
                        Ok(())
                    },
                },)*
            ];
        }
    };
}

/// The field of a section within a `Config`.
macro_rules! place {
    ($config:ident, [], $field:ident) => {
        $config.$field
    };
    ($config:ident, [$path:ident], $field:ident) => {
        $config.$path.$field
    };
}

/// The name of a section as it is in the file.
macro_rules! section_name {
    ([]) => {
        ""
    };
    ([$path:ident]) => {
        stringify!($path)
    };
}

pub(super) use {place, section, section_name};
