//! Things that have one value at a time and one writer: whether a topic exists, what a setting is.
//!
//! The value a broker shows is the one it last agreed to, or one that was asked for since and whose outcome nobody knows.
//! The writer asks between its own changes, one after the other; so nothing overlaps and no clock is needed.

use std::collections::BTreeMap;

use super::History;
use super::violation::Violation;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Registers(BTreeMap<String, Register>);

#[derive(Debug, Default)]
struct Register {
    agreed: String,
    asked: Vec<String>,
}

impl History {
    /// The writer of `name` asks for `value`. A register nobody ever asked for anything has the empty value.
    pub fn change_begun(&mut self, name: &str, value: &str) {
        let register = self.registers.0.entry(name.to_owned()).or_default();
        if register.asked.iter().all(|asked| asked != value) {
            register.asked.push(value.to_owned());
        }
    }

    /// The writer of `name` was told that it is `value` now.
    pub fn changed(&mut self, name: &str, value: &str) {
        let register = self.registers.0.entry(name.to_owned()).or_default();
        value.clone_into(&mut register.agreed);
        register.asked.clear();
    }

    /// The writer of `name` was shown `value`. What was shown stays.
    pub fn change_found(&mut self, name: &str, value: &str) {
        let register = self.registers.0.entry(name.to_owned()).or_default();
        if register.agreed != value && register.asked.iter().all(|asked| asked != value) {
            self.found.push(Violation::Register {
                name: name.to_owned(),
                agreed: register.agreed.clone(),
                asked: register.asked.clone(),
                found: value.to_owned(),
            });
        }
        self.changed(name, value);
    }
}
