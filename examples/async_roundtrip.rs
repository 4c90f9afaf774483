//! Produces and consumes on tokio, in one task each.
//!
//! `cargo run --example async_roundtrip -- 127.0.0.1:9192`

use std::time::Duration;

use corelog::client::asynchronous::Client;
use corelog::client::{ConsumerConfig, Error, ErrorCode, NewRecord, ProducerConfig, Start};

const TOPIC: &str = "roundtrip";
const RECORDS: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9192".to_owned());
    let mut client = Client::connect(&address).await?;
    match client.create_topic(TOPIC, 2, &[]).await {
        Err(error) if error.code() != Some(ErrorCode::TopicExists) => return Err(error),
        _ => {}
    }
    let mut producer = client.producer(ProducerConfig::default())?;
    let mut consumer = client.consumer(ConsumerConfig::default())?;
    for partition in 0..2 {
        // From where the log ends now, so that nothing sent below can be missed.
        let end = client.offset(TOPIC, partition, Start::Latest).await?.unwrap_or(0);
        consumer
            .subscribe(TOPIC, Some(&[partition]), Start::Offset(end))
            .await?;
    }

    let produce = async move {
        for index in 0..RECORDS {
            let (key, value) = (index.to_string(), format!("record {index}"));
            let record = NewRecord::to(TOPIC).key(key.as_bytes()).value(value.as_bytes());
            producer.send(&record).await?;
        }
        producer.flush().await
    };
    let consume = async move {
        let mut seen = 0;
        while seen < RECORDS {
            if let Some(batches) = consumer.poll(Duration::from_secs(1)).await? {
                seen += batches.records().count();
            }
        }
        Ok::<usize, Error>(seen)
    };
    let (produced, seen) = tokio::join!(produce, consume);
    produced?;
    eprintln!("{} records there and back", seen?);
    Ok(())
}
