//! Configuration as real tools see and change it: a current librdkafka against a broker of several shards.
//!
//! What is shown stands at the top of `tests/clients/configs_program.py`. The broker is killed in the end; what was set by then
//! must be set after it is back.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, threads and patience of its own"
)]

#[expect(
    clippy::allow_attributes,
    reason = "which helpers stay unused differs from program to program"
)]
#[allow(dead_code, reason = "each test program uses some of the shared helpers")]
#[path = "support/support.rs"]
mod support;

use support::broker::{Advertise, Broker, Options};
use support::programs;

#[test]
fn configs_of_a_broker_per_core() {
    configs_are_served(Options::new(2, Advertise::PerCore));
}

#[test]
fn configs_of_one_broker() {
    configs_are_served(Options::new(2, Advertise::Single));
}

fn configs_are_served(options: Options) {
    let mut broker = Broker::start(options);
    let program = |broker: &Broker| {
        let mut command = programs::client_program("configs_program.py");
        command.arg(broker.kafka().to_string());
        command
    };
    programs::run(program(&broker)).expect("the program is content");
    broker.kill();
    broker.spawn();
    broker.wait_ready();
    let mut again = program(&broker);
    again.env("RESTARTED", "1");
    programs::run(again).expect("what was set is still set");
    assert!(broker.terminate().success(), "a graceful stop exits with success");
}
