//! CLASP frames of the load: HELLO, SUBSCRIBE and SET in the compact encoding, and what of received ones matters.

const MAGIC: u8 = 0x53;
const COMPACT: u8 = 0x01;
const QOS_CONFIRM: u8 = 0x40;
const TIMESTAMP: u8 = 0x20;
const VALUE_I64: u8 = 0x05;

const HELLO: u8 = 0x01;
const SUBSCRIBE: u8 = 0x10;
const PING: u8 = 0x41;
pub const WELCOME: u8 = 0x02;
pub const SET: u8 = 0x21;
pub const PONG: u8 = 0x42;
pub const ACK: u8 = 0x50;
pub const ERROR: u8 = 0x51;

fn framed(payload: &[u8], flags: u8) -> Vec<u8> {
    let mut frame = vec![MAGIC, flags];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend(payload);
    frame
}

fn put_text(payload: &mut Vec<u8>, text: &str) {
    payload.extend((text.len() as u16).to_be_bytes());
    payload.extend(text.as_bytes());
}

pub fn hello() -> Vec<u8> {
    let mut payload = vec![HELLO, 1, 0xF8];
    put_text(&mut payload, "quic-load");
    put_text(&mut payload, "");
    framed(&payload, COMPACT)
}

pub fn subscribe(pattern: &str) -> Vec<u8> {
    let mut payload = vec![SUBSCRIBE, 0, 0, 0, 1];
    put_text(&mut payload, pattern);
    payload.extend([0xFF, 0]);
    framed(&payload, COMPACT | QOS_CONFIRM)
}

pub fn ping() -> Vec<u8> {
    framed(&[PING], COMPACT)
}

/// A SET whose value is a stamp, which are the last eight bytes.
pub fn set(address: &str) -> Vec<u8> {
    let mut payload = vec![SET, VALUE_I64];
    put_text(&mut payload, address);
    payload.extend([0; 8]);
    framed(&payload, COMPACT | QOS_CONFIRM)
}

pub fn put_stamp(frame: &mut [u8], stamp_ns: u64) {
    let at = frame.len() - 8;
    frame[at..].copy_from_slice(&stamp_ns.to_be_bytes());
}

/// One received frame: its type, and the stamp of a SET.
pub struct Message<'a> {
    pub kind: u8,
    pub stamp_ns: Option<u64>,
    pub payload: &'a [u8],
}

/// The first whole frame of `data` and its size; None for a part of one. An error for what is no frame.
pub fn first(data: &[u8]) -> Result<Option<(Message<'_>, usize)>, String> {
    if data.len() < 4 {
        return Ok(None);
    }
    if data[0] != MAGIC {
        return Err(format!("a frame begins with {:#x}", data[0]));
    }
    let header = if data[1] & TIMESTAMP != 0 { 12 } else { 4 };
    let size = header + u16::from_be_bytes([data[2], data[3]]) as usize;
    if size == header {
        return Err("an empty frame".to_string());
    }
    if data.len() < size {
        return Ok(None);
    }
    let payload = &data[header..size];
    let stamp_ns = match payload {
        [SET, flags, high, low, rest @ ..] if flags & 0x0F == VALUE_I64 => {
            let at = u16::from_be_bytes([*high, *low]) as usize;
            rest.get(at..at + 8)
                .map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
        }
        _ => None,
    };
    Ok(Some((Message { kind: payload[0], stamp_ns, payload }, size)))
}

/// Code and text of an ERROR.
pub fn error_text(payload: &[u8]) -> String {
    match payload {
        [_, high, low, _, _, text @ ..] => format!(
            "ERROR {}: {}",
            u16::from_be_bytes([*high, *low]),
            String::from_utf8_lossy(text)
        ),
        _ => "an ERROR without a text".to_string(),
    }
}
