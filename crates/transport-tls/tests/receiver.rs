//! Links that one thread reads while little comes, and tasks of their own while there is much.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::{Nowhere, endpoint, handshake};
use nix::poll::{PollFd, PollFlags, poll};
use packet::{SuperFrame, VnetHdr};
use tokio::sync::mpsc;
use transport::{Batch, FramePath as _, FrameSink, Outbox, TapFrame};
use transport_tls::{Expect, Handover, Link, LinkEvent, Receiver};
use wire::{GroupHeader, Hops, Message, PeerName, Refuse, RefuseCode};

const THREAD: &str = "leader";

/// A thread that drives a receiver.
struct Leader {
    handover: Handover,
    links: Arc<AtomicUsize>,
    /// Whether links that have something are given back.
    busy: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Leader {
    fn start() -> Self {
        let (mut receiver, handover) = Receiver::new().unwrap();
        let [busy, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let links = Arc::new(AtomicUsize::new(0));
        let (count, share, end) = (Arc::clone(&links), Arc::clone(&busy), Arc::clone(&stop));
        let lead = move || {
            while !end.load(SeqCst) {
                let brought = receiver.turn();
                if share.load(SeqCst) {
                    receiver.share();
                }
                count.store(receiver.links(), SeqCst);
                if brought == 0 {
                    let mut fds = [PollFd::new(receiver.fd(), PollFlags::POLLIN)];
                    poll(&mut fds, 5_u8).unwrap();
                }
            }
        };
        let thread = Some(thread::Builder::new().name(THREAD.into()).spawn(lead).unwrap());
        Self { handover, links, busy, stop, thread }
    }

    fn links(&self) -> usize {
        self.links.load(SeqCst)
    }

    fn stop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Keeps the numbers of frames, and whether the leader delivered them.
#[derive(Default)]
struct Heard(Mutex<Vec<(u64, bool)>>);

impl FrameSink for Heard {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        let number = u64::from_be_bytes(frame.frame().frame()[14..22].try_into().unwrap());
        let led = thread::current().name() == Some(THREAD);
        self.0.lock().unwrap().push((number, led));
    }

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        false
    }

    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {}
}

impl Heard {
    fn last(&self) -> Option<(u64, bool)> {
        self.0.lock().unwrap().last().copied()
    }
}

/// Two ends, of which the second may be led.
struct Ends {
    from: Link,
    to: Link,
    events: mpsc::Receiver<(u64, LinkEvent)>,
    heard: Arc<Heard>,
    sent: u64,
}

impl Ends {
    async fn new(handover: &Handover, room: usize) -> Self {
        let (d, a) = handshake(&endpoint(1, &[]), &endpoint(2, &[]), Expect::default()).await;
        let (quiet, mut own) = mpsc::channel(64);
        tokio::spawn(async move { while own.recv().await.is_some() {} });
        let (sender, events) = mpsc::channel(room);
        let heard = Arc::new(Heard::default());
        let from = d.unwrap().start(1, Arc::new(Nowhere), quiet, None).unwrap();
        let to = a.unwrap().start(2, heard.clone(), sender, Some(handover.clone())).unwrap();
        Self { from, to, events, heard, sent: 0 }
    }

    /// Sends a frame.
    fn send(&mut self) {
        let bytes = [&[2; 12][..], &[0x88, 0xb5], &self.sent.to_be_bytes(), &[0; 500]].concat();
        let frame = SuperFrame::checked(VnetHdr::default(), &bytes).unwrap();
        let (path, mut batch) = (self.from.path(), Batch::new());
        path.send(&frame, &mut batch).unwrap();
        path.flush(&mut batch);
        self.sent += 1;
    }

    /// Sends frames, slowly, until they are delivered by the leader, or by others.
    async fn send_until(&mut self, led: bool) {
        for _ in 0..5000 {
            self.send();
            let last = self.sent - 1;
            wait(|| self.heard.last().is_some_and(|(number, _)| number == last)).await;
            if self.heard.last() == Some((last, led)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("never delivered so: {led}");
    }
}

async fn wait(mut until: impl FnMut() -> bool) {
    let waiting = async {
        while !until() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

async fn event(ends: &mut Ends) -> LinkEvent {
    tokio::time::timeout(Duration::from_secs(20), ends.events.recv()).await.unwrap().unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_goes_to_the_leader_and_back_and_its_frames_stay_in_order() {
    let leader = Leader::start();
    let mut ends = Ends::new(&leader.handover, 64).await;
    for _ in 0..5 {
        ends.send_until(true).await;
        assert_eq!(leader.links(), 1);
        leader.busy.store(true, SeqCst);
        // Many at once, so that some are on their way while the link changes hands.
        (0..200).for_each(|_| ends.send());
        let last = ends.sent - 1;
        wait(|| ends.heard.last().is_some_and(|(number, _)| number == last)).await;
        ends.send_until(false).await;
        leader.busy.store(false, SeqCst);
    }
    let heard = ends.heard.0.lock().unwrap();
    assert!(heard.iter().map(|(number, _)| *number).eq(0..ends.sent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_traffic_keeps_a_link_from_the_leader() {
    let leader = Leader::start();
    let mut ends = Ends::new(&leader.handover, 64).await;
    for _ in 0..100 {
        // Far more than is little, many times in each window.
        (0..150).for_each(|_| ends.send());
        let last = ends.sent - 1;
        wait(|| ends.heard.last().is_some_and(|(number, _)| number == last)).await;
    }
    // Machines stand still at times.
    let led = ends.heard.0.lock().unwrap().iter().filter(|(_, led)| *led).count() as u64;
    assert!(led < ends.sent / 2, "{led} of {}", ends.sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_without_frames_is_left_to_its_task() {
    let leader = Leader::start();
    let mut ends = Ends::new(&leader.handover, 64).await;
    let ping = async |ends: &mut Ends, number| {
        assert!(ends.from.send(Message::Ping(number)));
        assert!(matches!(event(ends).await, LinkEvent::Message(Message::Ping(n)) if n == number));
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    for number in 0..40 {
        ping(&mut ends, number).await;
        assert_eq!(leader.links(), 0);
    }
    ends.send_until(true).await;
    for number in 0..40 {
        ping(&mut ends, number).await;
    }
    wait(|| leader.links() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_side_that_is_slow_loses_nothing() {
    let leader = Leader::start();
    let mut ends = Ends::new(&leader.handover, 1).await;
    ends.send_until(true).await;
    (0..20).for_each(|number| assert!(ends.from.send(Message::Ping(number))));
    wait(|| leader.links() == 0).await;
    for number in 0..20 {
        let heard = event(&mut ends).await;
        assert!(matches!(heard, LinkEvent::Message(Message::Ping(n)) if n == number), "{number}: {heard:?}");
    }
    ends.send_until(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_led_link_ends_like_any_other() {
    let leader = Leader::start();
    let mut ends = Ends::new(&leader.handover, 64).await;
    ends.send_until(true).await;
    ends.from.close(Refuse::new(RefuseCode::ShuttingDown, "bye"));
    assert!(matches!(event(&mut ends).await, LinkEvent::Message(Message::Refuse(r)) if r.text == "bye"));
    assert!(matches!(event(&mut ends).await, LinkEvent::Closed { reason, .. } if reason.contains("closed")));
    wait(|| leader.links() == 0).await;

    let mut ends = Ends::new(&leader.handover, 64).await;
    ends.send_until(true).await;
    let Ends { to, mut events, .. } = ends;
    drop(to);
    let ended = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap().1;
    assert!(matches!(ended, LinkEvent::Closed { .. }));
    wait(|| leader.links() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_outlive_a_leader_that_never_had_them_and_end_with_the_one_that_has() {
    let mut leader = Leader::start();
    let mut ends = Ends::new(&leader.handover, 64).await;
    ends.send_until(true).await;
    let mut other = Ends::new(&leader.handover, 64).await;
    other.send_until(false).await;
    leader.stop();
    assert!(matches!(event(&mut ends).await, LinkEvent::Closed { .. }));
    let mut third = Ends::new(&leader.handover, 64).await;
    for _ in 0..40 {
        third.send_until(false).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
