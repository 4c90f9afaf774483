//! The mesh under real threads: nothing lost, credits kept, no deadlock under a flood, and the queue for credits alone.

use std::pin::pin;

use futures_lite::future::{block_on, poll_once, yield_now, zip};

use super::*;

/// Few under Miri, which is some thousand times slower.
const MESSAGES: u32 = if cfg!(miri) { 40 } else { 100_000 };

fn two() -> (Port<u32>, Port<u32>) {
    let mut ports = Mesh::new(2).into_iter();
    (ports.next().unwrap(), ports.next().unwrap())
}

const A: Peer = Peer::new(0);
const B: Peer = Peer::new(1);

#[test]
fn a_request_and_its_reply_cross() {
    let (a, b) = two();
    a.send_request(a.try_credit(B).unwrap(), 7);
    assert_eq!(a.outstanding(B), 1);
    assert_eq!(
        b.try_recv(),
        Some(Received {
            from: A,
            message: Envelope::Request(7)
        })
    );
    b.send_reply(A, 8);
    assert_eq!(
        a.try_recv(),
        Some(Received {
            from: B,
            message: Envelope::Reply(8)
        })
    );
    assert_eq!((a.outstanding(B), a.try_recv(), b.try_recv()), (0, None, None));
}

#[test]
fn there_are_credits_and_no_more() {
    let (a, b) = two();
    for _ in 0..CREDITS {
        a.send_request(a.try_credit(B).unwrap(), 0);
    }
    assert!(a.try_credit(B).is_none());
    assert!(b.try_recv().is_some());
    assert!(
        a.try_credit(B).is_none(),
        "only the reply gives the credit back, not the receipt"
    );
    b.send_reply(A, 0);
    assert!(a.try_recv().is_some());
    assert!(
        a.try_credit(B).is_some(),
        "and an unused credit goes back when it is dropped"
    );
    assert!(a.try_credit(B).is_some());
}

#[test]
fn a_full_set_of_requests_and_of_replies_fits_the_ring() {
    let (a, b) = two();
    for _ in 0..CREDITS {
        a.send_request(a.try_credit(B).unwrap(), 0);
        b.send_request(b.try_credit(A).unwrap(), 0);
    }
    for _ in 0..CREDITS {
        assert!(b.try_recv().is_some());
        b.send_reply(A, 0);
    }
    for _ in 0..RING_CAPACITY {
        assert!(a.try_recv().is_some());
    }
    assert_eq!(a.outstanding(B), 0);
}

#[test]
#[should_panic(expected = "without a request")]
fn a_second_reply_to_one_request_is_a_bug() {
    let (a, b) = two();
    a.send_request(a.try_credit(B).unwrap(), 0);
    assert!(b.try_recv().is_some());
    b.send_reply(A, 0);
    b.send_reply(A, 0);
}

#[test]
#[should_panic(expected = "another port")]
fn a_credit_is_good_for_its_own_port_only() {
    let ports = Mesh::new(3);
    let stolen = ports[0].try_credit(Peer::new(2)).unwrap();
    ports[1].send_request(stolen, 0);
}

#[test]
#[should_panic(expected = "has no link")]
fn there_is_no_mail_to_oneself() {
    let (a, _b) = two();
    let _ = a.try_credit(A);
}

#[test]
fn peers_take_turns() {
    let ports = Mesh::new(4);
    for (from, count) in [(0, 5), (1, 2), (3, 3)] {
        for value in 0..count {
            let credit = ports[from].try_credit(Peer::new(2)).unwrap();
            ports[from].send_request(credit, value);
        }
    }
    let order: Vec<_> = std::iter::from_fn(|| ports[2].try_recv())
        .map(|got| got.from.get())
        .collect();
    assert_eq!(order, [0, 1, 3, 0, 1, 3, 0, 3, 0, 0]);
}

#[test]
fn credits_are_given_in_the_order_of_asking() {
    let (a, _b) = two();
    let mut held: Vec<_> = std::iter::from_fn(|| a.try_credit(B)).collect();
    assert_eq!(held.len(), CREDITS);
    block_on(async {
        let (mut first, mut second, mut third) = (
            Box::pin(a.credit(B)),
            Box::pin(a.credit(B)),
            Box::pin(a.credit(B)),
        );
        assert!(poll_once(&mut first).await.is_none());
        assert!(poll_once(&mut second).await.is_none());
        assert!(poll_once(&mut third).await.is_none());
        held.pop();
        assert!(a.try_credit(B).is_none(), "a newcomer does not overtake");
        assert!(poll_once(&mut second).await.is_none());
        drop(first);
        let credit = poll_once(&mut second)
            .await
            .expect("the one who left passed the credit on");
        assert!(poll_once(&mut third).await.is_none());
        drop(second);
        drop(credit);
        assert!(poll_once(&mut third).await.is_some());
    });
    drop(held);
    assert_eq!(a.outstanding(B), 0);
}

#[test]
fn a_waiter_that_leaves_unserved_leaves_no_trace() {
    let (a, _b) = two();
    let held: Vec<_> = std::iter::from_fn(|| a.try_credit(B)).collect();
    block_on(async {
        let mut wait = pin!(a.credit(B));
        assert!(poll_once(&mut wait).await.is_none());
    });
    drop(held);
    assert_eq!(a.outstanding(B), 0);
    assert_eq!(
        std::iter::from_fn(|| a.try_credit(B).map(std::mem::forget)).count(),
        CREDITS
    );
}

/// Sends its share to every peer in windows of `window` requests, and sleeps between them; answers what it is asked.
async fn converse(port: &Port<u32>, messages: u32, window: u32) {
    let others: Vec<Peer> = port.others().collect();
    let mut next = vec![0_u32; others.len() + 1];
    let mut answered = vec![0_u32; others.len() + 1];
    let mut seen = vec![0_u32; others.len() + 1];
    let done = |answered: &[u32], seen: &[u32]| {
        others
            .iter()
            .all(|peer| answered[peer.index()] == messages && seen[peer.index()] == messages)
    };
    loop {
        for &to in &others {
            let index = to.index();
            while next[index] < messages && next[index] - answered[index] < window {
                let Some(credit) = port.try_credit(to) else { break };
                port.send_request(credit, next[index]);
                next[index] += 1;
            }
            assert!(port.outstanding(to) <= CREDITS);
        }
        if done(&answered, &seen) {
            port.ring_doorbells();
            return;
        }
        let Received { from, message } = port.recv().await;
        match message {
            Envelope::Request(value) => {
                assert_eq!(value, seen[from.index()], "in order, once");
                seen[from.index()] += 1;
                port.send_reply(from, value);
            }
            Envelope::Reply(value) => {
                assert_eq!(value, answered[from.index()], "in order, once");
                answered[from.index()] += 1;
            }
        }
    }
}

#[test]
fn four_threads_talk_all_to_all_and_no_wakeup_is_lost() {
    for window in [1, 7, 1000] {
        let messages = if window == 1 { MESSAGES / 10 } else { MESSAGES };
        std::thread::scope(|scope| {
            for port in Mesh::new(4) {
                scope.spawn(move || block_on(converse(&port, messages / 3, window)));
            }
        });
    }
}

/// Tasks that wait for credits beside a task that receives, as on a shard.
#[test]
fn a_flood_from_both_sides_does_not_deadlock() {
    const SENDERS: u32 = 3;
    std::thread::scope(|scope| {
        for port in Mesh::<u32>::new(2) {
            scope.spawn(move || {
                let to = port.others().next().unwrap();
                let sender = async || {
                    for value in 0..MESSAGES {
                        let credit = port.credit(to).await;
                        port.send_request(credit, value);
                        port.ring_doorbells();
                        if value % 64 == 0 {
                            yield_now().await;
                        }
                    }
                };
                let receiver = async {
                    let (mut requests, mut replies) = (0, 0);
                    while requests < SENDERS * MESSAGES || replies < SENDERS * MESSAGES {
                        let Received { from, message } = port.recv().await;
                        match message {
                            Envelope::Request(value) => {
                                requests += 1;
                                port.send_reply(from, value);
                            }
                            Envelope::Reply(_) => replies += 1,
                        }
                        assert!(port.outstanding(to) <= CREDITS);
                    }
                    port.ring_doorbells();
                };
                block_on(zip(zip(sender(), sender()), zip(sender(), receiver)));
                assert_eq!(port.outstanding(to), 0);
            });
        }
    });
}

#[test]
fn a_port_moves_to_its_thread() {
    fn assert_send<T: Send>(_: &T) {}
    let (a, _b) = two();
    assert_send(&a);
}
