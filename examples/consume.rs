//! Prints a topic from its beginning and goes on with what comes.
//!
//! `cargo run --example consume -- 127.0.0.1:9192 hello`

use std::io::{self, Write};
use std::time::Duration;

use corelog::client::{Client, ConsumerConfig, Start};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9192".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "hello".to_owned());

    let client = Client::connect(&address)?;
    let mut consumer = client.consumer(ConsumerConfig::default())?;
    consumer.subscribe(&topic, None, Start::Earliest)?;
    let mut out = io::stdout().lock();
    loop {
        // The records are slices of the receive buffer. They last until the next poll, which also lets the broker push more.
        let Some(batches) = consumer.poll(Duration::from_secs(1))? else {
            continue;
        };
        for record in batches.records() {
            out.write_all(record.value.unwrap_or_default())?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
    }
}
