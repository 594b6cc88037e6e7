//! Load for a CLASP router over QUIC; prints one JSON object with the fields of `claspload`'s.
//!
//! Usage: clasp-quic-load --port N [options]. One publisher and one subscriber, a connection each, unless it says
//! otherwise:
//!
//!   --host A         an IPv4 address (127.0.0.1)
//!   --window N       at most N SETs in flight (500)
//!   --ping-pong      one at a time: the next when the last is acknowledged and delivered
//!   --duration S     seconds of sending (3)       --count N   messages at most       --warmup N   messages before (5000)
//!   --addresses N    /bench/000/NNNNNN in turn (10)
//!   --echo           the other end is no router: one connection, whatever is sent comes back
//!   --handshakes N   no load: connections one after the other, N at once, HELLO and WELCOME, for --duration
//!   --idle N         no load: N connections that subscribe and are silent for --hold S seconds
//!   --hosts N        connections come from N addresses, from 127.0.0.2 on (all from 127.0.0.1)
//!   --server-pid P   measure that process's CPU time and memory
//!
//! The certificate is not checked. This file knows the order of things; wire.rs the bytes, load.rs who sends when,
//! crowd.rs handshakes and idle connections, connect.rs QUIC, measure.rs clocks and memory.

mod connect;
mod crowd;
mod load;
mod measure;
mod wire;

use std::net::{IpAddr, SocketAddr};

pub struct Options {
    pub address: SocketAddr,
    pub window: u64,
    pub ping_pong: bool,
    pub duration_s: f64,
    pub count: u64,
    pub warmup: u64,
    pub addresses: usize,
    pub echo: bool,
    pub handshakes: usize,
    pub idle: usize,
    pub hold_s: f64,
    pub hosts: usize,
    pub server_pid: Option<u32>,
}

fn options() -> Result<Options, String> {
    let mut args = std::env::args().skip(1);
    let (mut host, mut port) = (IpAddr::from([127, 0, 0, 1]), 0u16);
    let mut options = Options {
        address: SocketAddr::new(host, port),
        window: 500,
        ping_pong: false,
        duration_s: 3.0,
        count: u64::MAX,
        warmup: 5000,
        addresses: 10,
        echo: false,
        handshakes: 0,
        idle: 0,
        hold_s: 10.0,
        hosts: 0,
        server_pid: None,
    };
    fn value<T: std::str::FromStr>(name: &str, text: Option<String>) -> Result<T, String> {
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("{name} takes a value of another kind"))
    }
    while let Some(name) = args.next() {
        match name.as_str() {
            "--ping-pong" => {
                options.ping_pong = true;
                options.window = 1;
            }
            "--host" => host = value(&name, args.next())?,
            "--port" => port = value(&name, args.next())?,
            "--echo" => options.echo = true,
            "--window" => options.window = value(&name, args.next())?,
            "--duration" => options.duration_s = value(&name, args.next())?,
            "--count" => options.count = value(&name, args.next())?,
            "--warmup" => options.warmup = value(&name, args.next())?,
            "--addresses" => options.addresses = value(&name, args.next())?,
            "--handshakes" => options.handshakes = value(&name, args.next())?,
            "--idle" => options.idle = value(&name, args.next())?,
            "--hold" => options.hold_s = value(&name, args.next())?,
            "--hosts" => options.hosts = value(&name, args.next())?,
            "--server-pid" => options.server_pid = Some(value(&name, args.next())?),
            _ => return Err(format!("no such option: {name}")),
        }
    }
    if port == 0 {
        return Err("--port is missing".to_string());
    }
    options.address = SocketAddr::new(host, port);
    Ok(options)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let done = match options() {
        Err(text) => Err(text),
        Ok(options) if options.handshakes > 0 => crowd::handshakes(&options).await,
        Ok(options) if options.idle > 0 => crowd::idle(&options).await,
        Ok(options) => load::run(&options).await,
    };
    match done {
        Ok(json) => println!("{json}"),
        Err(text) => {
            eprintln!("clasp-quic-load: {text}");
            std::process::exit(1);
        }
    }
}
