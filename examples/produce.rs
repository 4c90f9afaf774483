//! Sends lines of standard input to a topic and says where they went.
//!
//! `cargo run --example produce -- 127.0.0.1:9192 hello < lines.txt`

use std::io::{self, BufRead};

use corelog::client::{Client, ErrorCode, NewRecord, ProducerConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9192".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "hello".to_owned());

    let mut client = Client::connect(&address)?;
    match client.create_topic(&topic, 1, &[]) {
        Err(error) if error.code() != Some(ErrorCode::TopicExists) => return Err(error.into()),
        _ => {}
    }

    let mut producer = client.producer(ProducerConfig::default())?;
    let mut last = None;
    for line in io::stdin().lock().lines() {
        // Accepted, not yet delivered: batches fill and leave by themselves.
        last = Some(producer.send(&NewRecord::to(&topic).value(line?.as_bytes()))?);
    }
    // From here on everything is on the disk, or this fails.
    producer.flush()?;
    if let Some(Ok(delivered)) = last.and_then(|delivery| delivery.outcome()) {
        eprintln!(
            "the last line is in {topic}-{} at {:?}",
            delivered.partition, delivered.offset
        );
    }
    Ok(())
}
