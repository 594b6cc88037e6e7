//! SET 1→1: who sends when, and what arrives. One thread; every stamp is larger than the one before it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::sync::Notify;

use crate::connect::{self, Input, Stream};
use crate::measure::{cpu_s, json_of, now_ns, rss_kib, Histogram};
use crate::{wire, Options};

/// After so long without anything arriving the rest is lost.
const QUIET: Duration = Duration::from_secs(1);
const BATCH: u64 = 500;

struct Counts {
    acked: Cell<u64>,
    delivered: Cell<u64>,
    duplicates: Cell<u64>,
    out_of_order: Cell<u64>,
    unstamped: Cell<u64>,
    last_ns: Cell<u64>,
    heard_ns: Cell<u64>,
    latency: RefCell<Histogram>,
    error: RefCell<Option<String>>,
    progress: Notify,
}

fn bump(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Counts {
    fn take(&self, message: &wire::Message<'_>) -> Result<(), String> {
        match message.kind {
            wire::ACK => bump(&self.acked),
            wire::SET => {
                bump(&self.delivered);
                match message.stamp_ns {
                    None => bump(&self.unstamped),
                    Some(stamp) => {
                        let last = self.last_ns.get();
                        match stamp.cmp(&last) {
                            std::cmp::Ordering::Less => bump(&self.out_of_order),
                            std::cmp::Ordering::Equal => bump(&self.duplicates),
                            std::cmp::Ordering::Greater => self.last_ns.set(stamp),
                        }
                        self.latency.borrow_mut().add(now_ns().saturating_sub(stamp));
                    }
                }
            }
            wire::ERROR => return Err(wire::error_text(message.payload)),
            _ => {}
        }
        Ok(())
    }

    fn reset(&self) {
        for cell in [&self.acked, &self.delivered, &self.duplicates, &self.out_of_order, &self.unstamped] {
            cell.set(0);
        }
        *self.latency.borrow_mut() = Histogram::new();
    }

    async fn hear(&self, mut input: Input) {
        loop {
            let read = input.read(|message| self.take(message)).await;
            self.heard_ns.set(now_ns());
            self.progress.notify_one();
            if let Err(text) = read {
                *self.error.borrow_mut() = Some(text);
                return;
            }
        }
    }
}

struct Publisher<'a> {
    options: &'a Options,
    counts: &'a Counts,
    out: quinn::SendStream,
    frames: Vec<Vec<u8>>,
    stamp_ns: u64,
    buffer: Vec<u8>,
}

impl Publisher<'_> {
    /// Messages whose flight is over.
    fn landed(&self) -> u64 {
        let delivered = self.counts.delivered.get();
        if self.options.echo {
            delivered
        } else if self.options.ping_pong {
            delivered.min(self.counts.acked.get())
        } else {
            self.counts.acked.get()
        }
    }

    /// Send up to `count` messages until `end_ns`, then wait for what is under way. How many were sent, and when the
    /// last has arrived.
    async fn phase(&mut self, count: u64, end_ns: u64) -> Result<(u64, u64), String> {
        let mut sent = 0u64;
        while sent < count && now_ns() < end_ns {
            let free = (self.options.window + self.landed()).saturating_sub(sent).min(count - sent);
            if free == 0 {
                if !self.wait().await? {
                    break;
                }
                continue;
            }
            self.buffer.clear();
            for _ in 0..free.min(BATCH) {
                self.stamp_ns = now_ns().max(self.stamp_ns + 1);
                let size = self.frames.len();
                let frame = &mut self.frames[(sent as usize) % size];
                wire::put_stamp(frame, self.stamp_ns);
                self.buffer.extend_from_slice(frame);
                sent += 1;
            }
            self.out
                .write_all(&self.buffer)
                .await
                .map_err(|error| format!("the connection has ended: {error}"))?;
        }
        let acks = if self.options.echo { 0 } else { sent };
        while self.counts.delivered.get() < sent || self.counts.acked.get() < acks {
            if !self.wait().await? {
                break;
            }
        }
        Ok((sent, self.counts.heard_ns.get()))
    }

    /// Until something has arrived; false after a second without.
    async fn wait(&self) -> Result<bool, String> {
        let arrived = tokio::time::timeout(QUIET, self.counts.progress.notified()).await.is_ok();
        match self.counts.error.borrow_mut().take() {
            Some(text) => Err(text),
            None => Ok(arrived),
        }
    }
}

async fn streams(options: &Options) -> Result<(Stream, Option<Stream>, [quinn::Endpoint; 2]), String> {
    let configuration = connect::configuration()?;
    let endpoints = [connect::endpoint(options.hosts, 0)?, connect::endpoint(options.hosts, 1)?];
    let mut publisher = connect::open(&endpoints[0], &configuration, options.address).await?;
    if options.echo {
        return Ok((publisher, None, endpoints));
    }
    // Before the next: the reference takes no other connection as long as this one has said nothing.
    publisher.greet().await?;
    let mut subscriber = connect::open(&endpoints[1], &configuration, options.address).await?;
    subscriber.greet().await?;
    subscriber.subscribe("/bench/**").await?;
    Ok((publisher, Some(subscriber), endpoints))
}

pub async fn run(options: &Options) -> Result<String, String> {
    let rss_start = rss_kib(options.server_pid);
    let (publisher, subscriber, _endpoints) = streams(options).await?;
    let counts = Counts {
        acked: Cell::new(0),
        delivered: Cell::new(0),
        duplicates: Cell::new(0),
        out_of_order: Cell::new(0),
        unstamped: Cell::new(0),
        last_ns: Cell::new(0),
        heard_ns: Cell::new(0),
        latency: RefCell::new(Histogram::new()),
        error: RefCell::new(None),
        progress: Notify::new(),
    };
    let frames = (0..options.addresses.max(1)).map(|number| wire::set(&format!("/bench/000/{number:06}"))).collect();
    let (input, out, connection) = (publisher.input, publisher.out, publisher.connection);
    let mut sender =
        Publisher { options, counts: &counts, out, frames, stamp_ns: 0, buffer: Vec::new() };
    let (heard, kept) = match subscriber {
        Some(stream) => (Some(stream.input), Some((stream.out, stream.connection))),
        None => (None, None),
    };
    let measured = async {
        sender.phase(options.warmup, u64::MAX).await?;
        counts.reset();
        let (cpu, own, began) = (cpu_s(options.server_pid), cpu_s(Some(std::process::id())), now_ns());
        let end_ns = began + (options.duration_s * 1e9) as u64;
        let (sent, ended) = sender.phase(options.count, end_ns).await?;
        let wall_s = (ended.max(began + 1) - began) as f64 * 1e-9;
        let cpu = cpu_s(options.server_pid).zip(cpu).map(|(after, before)| after - before);
        let own = cpu_s(Some(std::process::id())).zip(own).map(|(after, before)| after - before);
        let lost = sent - counts.delivered.get().min(sent);
        let acked = if options.echo { counts.delivered.get() } else { counts.acked.get() };
        Ok::<String, String>(format!(
            concat!(
                "{{\n \"kind\": \"set\",\n \"mode\": \"{}\",\n \"publishers\": 1,\n \"subscribers\": 1,\n",
                " \"window\": {},\n \"addresses\": {},\n \"sent\": {},\n \"acked\": {},\n \"delivered\": {},\n",
                " \"expected\": {},\n \"lost\": {},\n \"unacked\": {},\n \"duplicates\": {},\n",
                " \"out_of_order\": {},\n \"unstamped\": {},\n \"undecodable\": 0,\n \"disconnects\": 0,\n",
                " \"delivery_us\": {},\n \"ack_us\": {{\"p50\": 0, \"p99\": 0}},\n \"deliveries_per_s\": {:.1},\n",
                " \"wall_s\": {:.6},\n \"server_cpu_s\": {},\n \"load_cpu_s\": {},\n",
                " \"rss_start_kib\": {},\n \"rss_end_kib\": {}\n}}"
            ),
            if options.ping_pong { "ping-pong" } else { "window" },
            options.window,
            options.addresses,
            sent,
            acked,
            counts.delivered.get(),
            sent,
            lost,
            sent - acked.min(sent),
            counts.duplicates.get(),
            counts.out_of_order.get(),
            counts.unstamped.get(),
            counts.latency.borrow().json(),
            counts.delivered.get() as f64 / wall_s,
            wall_s,
            json_of(cpu),
            json_of(own),
            json_of(rss_start.map(|kib| kib as f64)),
            json_of(rss_kib(options.server_pid).map(|kib| kib as f64)),
        ))
    };
    let hear_subscriber = async {
        match heard {
            Some(input) => counts.hear(input).await,
            None => std::future::pending().await,
        }
    };
    let done = tokio::select! {
        biased;
        done = measured => done,
        _ = async { tokio::join!(counts.hear(input), hear_subscriber) } => Err("both connections have ended".to_string()),
    };
    connection.close(0u32.into(), b"done");
    if let Some((_, connection)) = kept {
        connection.close(0u32.into(), b"done");
    }
    // The ends are still to be sent.
    tokio::time::sleep(Duration::from_millis(20)).await;
    done
}
