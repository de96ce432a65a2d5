//! A TCP transfer between containers whose every byte is checked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testbed::world::Site;

/// A transfer that goes on until it is told to stop.
pub(crate) struct Transfer {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64, String>>,
    receiver: JoinHandle<Result<u64, String>>,
}

/// Slow enough that it does not fill a way, fast enough that no moment is without it: 20 Mb/s.
const CHUNK: usize = 25_000;
const PAUSE: Duration = Duration::from_millis(10);
const PORT: u16 = 7000;

impl Transfer {
    /// From a container of one site to that of another.
    pub(crate) fn start(from: &Site, to: &Site) -> Self {
        let address: SocketAddr = format!("{}:{PORT}", to.overlay).parse().unwrap_or_else(|e| panic!("{e}"));
        let listener = to.container.within(|| TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|e| panic!("{address}: {e}"));
        let sending = from.container.within(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)));
        let sending = sending.unwrap_or_else(|e| panic!("{address}: {e}"));
        let (receiving, _) = listener.accept().unwrap_or_else(|e| panic!("{address}: {e}"));
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let sender = thread::spawn(move || send(sending, &told).map_err(|e| e.to_string()));
        let receiver = thread::spawn(move || receive(receiving));
        Self { stop, sender, receiver }
    }

    /// Ends it, and gives the bytes that arrived.
    ///
    /// # Errors
    /// It broke, or something else arrived than was sent.
    pub(crate) fn stop(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap_or_else(|_| Err("the sender failed".into()))?;
        let received = self.receiver.join().unwrap_or_else(|_| Err("the receiver failed".into()))?;
        if sent == received { Ok(received) } else { Err(format!("{received} of {sent} bytes arrived")) }
    }
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> std::io::Result<u64> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut bytes, mut chunk, mut sent) = (Bytes::new(), vec![0; CHUNK], 0);
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        bytes.fill(&mut chunk);
        stream.write_all(&chunk)?;
        sent += CHUNK as u64;
        thread::sleep(PAUSE.saturating_sub(start.elapsed()));
    }
    Ok(sent)
}

fn receive(mut stream: TcpStream) -> Result<u64, String> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    let (mut bytes, mut buffer, mut wanted, mut received) = (Bytes::new(), vec![0; CHUNK], vec![0; CHUNK], 0);
    loop {
        let length = stream.read(&mut buffer).map_err(|e| format!("after {received} bytes: {e}"))?;
        if length == 0 {
            return Ok(received);
        }
        bytes.fill(&mut wanted[..length]);
        if buffer[..length] != wanted[..length] {
            return Err(format!("other bytes than were sent, after {received}"));
        }
        received += length as u64;
    }
}

/// A stream that is silent for so long is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that both ends can make: no part of them is like another.
struct Bytes {
    state: u64,
    /// What is left of the last number.
    rest: Vec<u8>,
}

impl Bytes {
    const fn new() -> Self {
        Self { state: 0x5EED, rest: Vec::new() }
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            if self.rest.is_empty() {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.rest.extend(self.state.to_be_bytes());
            }
            *byte = self.rest.pop().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_same_however_they_are_cut() {
        let (mut whole, mut parts) = (vec![0; 100], vec![0; 100]);
        Bytes::new().fill(&mut whole);
        let mut bytes = Bytes::new();
        for part in parts.chunks_mut(7) {
            bytes.fill(part);
        }
        assert_eq!(whole, parts);
        assert_ne!(whole[..8], whole[8..16]);
    }

    #[test]
    fn a_change_on_the_way_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sending = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let receiving = listener.accept().unwrap().0;
        let mut bytes = vec![0; 1000];
        Bytes::new().fill(&mut bytes);
        bytes[700] ^= 1;
        sending.write_all(&bytes).unwrap();
        drop(sending);
        assert!(receive(receiving).unwrap_err().contains("other bytes"));
    }
}
