//! A proxy for one connection, as small as can be.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the other end of a connection does with the request.
pub(crate) type Reply = Box<dyn Fn(&str) -> Vec<u8> + Send>;

/// Answers one CONNECT, `step` bytes a time; if it is a success, passes bytes on both ways to `beyond`. Gives the request.
pub(crate) async fn serve(
    reply: Reply,
    step: usize,
    beyond: Option<SocketAddr>,
) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(tcp.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        for bytes in reply(&request).chunks(step) {
            if tcp.write_all(bytes).await.is_err() {
                return request;
            }
            tokio::task::yield_now().await;
        }
        if let Some(beyond) = beyond {
            let mut on = TcpStream::connect(beyond).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut tcp, &mut on).await;
            });
        }
        request
    });
    (address, task)
}
