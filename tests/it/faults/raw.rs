//! Writes HTTP/2 by hand, to send what no client library would send, or leave out what it would.

use std::io;
use std::pin::Pin;

use iamd::service::pb;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::support::{PATIENCE, ann_asks};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const AUTHORIZE: &str = "/iamd.v1.AuthorizationService/Authorize";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Returns the bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the headers of an Authorize call.
pub fn call_headers(authority: &str) -> Vec<u8> {
    headers(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", AUTHORIZE),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// Returns a block of headers, each as a literal without indexing.
pub fn headers(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = Vec::new();
        match text.len() {
            short @ ..127 => bytes.push(short as u8),
            long => {
                bytes.push(127);
                let mut left = long - 127;
                while left > 127 {
                    bytes.push(left as u8 | 128);
                    left >>= 7;
                }
                bytes.push(left as u8);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let header = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    headers.iter().flat_map(header).collect()
}

/// Frames a message as gRPC does.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// Returns ann's question about `action`, framed.
pub fn question(action: &str) -> Vec<u8> {
    framed(&ann_asks(action).encode_to_vec())
}

/// Returns ann's question about `action` as a whole call on `stream`.
pub fn call(stream: u32, authority: &str, action: &str) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, &call_headers(authority));
    [headers, frame(DATA, END_STREAM, stream, &question(action))].concat()
}

/// Begins and cancels more calls than a server accepts before it closes the connection for it.
pub fn rapid_resets() -> Vec<u8> {
    let headers = call_headers("localhost");
    let reset = |n: u32| {
        let stream = 2 * n + 1;
        let begun = frame(HEADERS, END_HEADERS, stream, &headers);
        [begun, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
    };
    (0..100).flat_map(reset).collect()
}

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// A connection that sends only what it is told to.
pub struct Raw {
    io: Pin<Box<dyn Io>>,
    /// What has arrived and is not a whole frame yet.
    buffer: Vec<u8>,
}

/// The outcome of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Decided(pb::Decision),
    /// Headers without a message.
    NoAnswer,
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// A frame that arrived.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Returns the number at `place` of the payload.
    pub fn number(&self, place: usize) -> u32 {
        let bytes = self.payload.get(place..place + 4).unwrap();
        u32::from_be_bytes(bytes.try_into().unwrap())
    }
}

impl Raw {
    /// Connects to `address`, which may be `unix:/path`, and sends nothing.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let io: Pin<Box<dyn Io>> = match address.strip_prefix("unix:") {
            Some(path) => Box::pin(UnixStream::connect(path).await?),
            None => Box::pin(TcpStream::connect(address).await?),
        };
        Ok(Self {
            io,
            buffer: Vec::new(),
        })
    }

    /// Connects and sends the preface, with no settings of its own.
    pub async fn greeted(address: &str) -> io::Result<Self> {
        let mut raw = Self::connect(address).await?;
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
            .await?;
        Ok(raw)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await
    }

    /// Returns the next frame, or `None` at the end of the connection, however it ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((&[high, middle, low, kind, flags, a, b, c, d], rest)) =
                self.buffer.split_first_chunk::<9>()
            {
                let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let frame = Frame {
                        kind,
                        flags,
                        stream: u32::from_be_bytes([a, b, c, d]),
                        payload: payload.to_vec(),
                    };
                    self.buffer.drain(..9 + length);
                    return Some(frame);
                }
            }
            let mut bytes = [0; 4096];
            let read = timeout(PATIENCE, self.io.read(&mut bytes)).await;
            match read.expect("neither a frame nor the end") {
                Ok(0) | Err(_) => return None,
                Ok(n_bytes) => self.buffer.extend(&bytes[..n_bytes]),
            }
        }
    }

    /// Sends what a well-behaved client sends in reply to `frame`.
    pub async fn acknowledge(&mut self, frame: &Frame) -> io::Result<()> {
        let answer = match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => self::frame(SETTINGS, ACK, 0, &[]),
            PING if frame.flags & ACK == 0 => self::frame(PING, ACK, 0, &frame.payload),
            _ => return Ok(()),
        };
        self.send(&answer).await
    }

    /// Waits for the server's first frame. After that, the server has accepted the connection.
    pub async fn accepted(&mut self) -> bool {
        matches!(self.frame().await, Some(frame) if frame.kind == SETTINGS)
    }

    /// Reads until the connection ends.
    pub async fn closed(&mut self) {
        while self.frame().await.is_some() {}
    }

    /// Asks whether ann may do `action`, on the first stream of the connection.
    pub async fn ask(&mut self, authority: &str, action: &str) -> Outcome {
        if self.send(&call(1, authority, action)).await.is_err() {
            return Outcome::Closed;
        }
        while let Some(frame) = self.frame().await {
            match (frame.kind, frame.stream) {
                (RST_STREAM, 1) => return Outcome::Reset(frame.number(0)),
                (GOAWAY, _) => return Outcome::GoAway(frame.number(4)),
                (DATA, 1) if frame.payload.len() > 5 => {
                    let answer = pb::AuthorizeResponse::decode(&frame.payload[5..]).unwrap();
                    return Outcome::Decided(answer.decision());
                }
                (HEADERS, 1) if frame.flags & END_STREAM != 0 => return Outcome::NoAnswer,
                _ => {}
            }
        }
        Outcome::Closed
    }
}
