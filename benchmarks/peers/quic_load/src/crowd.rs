//! Connections without load: how many can begin in a second, and what those that are silent cost.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::connect::{self, Stream};
use crate::measure::{cpu_s, json_of, now_ns, rss_kib};
use crate::Options;

/// Connect, say HELLO, wait for WELCOME; to an echo, get the bytes back.
async fn begin(options: &Options, number: usize) -> Result<(quinn::Endpoint, Stream), String> {
    let configuration = connect::configuration()?;
    let endpoint = connect::endpoint(options.hosts, number)?;
    let mut stream = connect::open(&endpoint, &configuration, options.address).await?;
    if options.echo {
        let hello = crate::wire::hello();
        stream.write(&hello).await?;
        stream.input.until(hello[4]).await?;
    } else {
        stream.greet().await?;
    }
    Ok((endpoint, stream))
}

pub async fn handshakes(options: &Options) -> Result<String, String> {
    let (done, failed) = (Cell::new(0usize), Cell::new(0usize));
    let error = RefCell::new(String::new());
    let (cpu, began) = (cpu_s(options.server_pid), now_ns());
    let end_ns = began + (options.duration_s * 1e9) as u64;
    let one = |number: usize| {
        let (done, failed, error) = (&done, &failed, &error);
        async move {
            while now_ns() < end_ns {
                match begin(options, number).await {
                    Ok((endpoint, stream)) => {
                        done.set(done.get() + 1);
                        stream.connection.close(0u32.into(), b"done");
                        endpoint.wait_idle().await;
                    }
                    Err(text) => {
                        failed.set(failed.get() + 1);
                        *error.borrow_mut() = text;
                    }
                }
            }
        }
    };
    together((0..options.handshakes).map(one).collect()).await;
    let wall_s = (now_ns() - began) as f64 * 1e-9;
    let cpu = cpu_s(options.server_pid).zip(cpu).map(|(after, before)| after - before);
    if done.get() == 0 {
        return Err(error.take());
    }
    Ok(format!(
        "{{\"handshakes\": {}, \"failed\": {}, \"wall_s\": {wall_s:.3}, \"server_cpu_s\": {}}}",
        done.get(),
        failed.get(),
        json_of(cpu)
    ))
}

pub async fn idle(options: &Options) -> Result<String, String> {
    let (rss_start, cpu_start, began) = (rss_kib(options.server_pid), cpu_s(options.server_pid), now_ns());
    let kept = RefCell::new(Vec::new());
    let next = Cell::new(0usize);
    let error = RefCell::new(None);
    let one = |_: usize| {
        let (kept, next, error) = (&kept, &next, &error);
        async move {
            while next.get() < options.idle && error.borrow().is_none() {
                let number = next.replace(next.get() + 1);
                let begun = async {
                    let (endpoint, mut stream) = begin(options, number).await?;
                    if !options.echo {
                        stream.subscribe(&format!("/idle/{number}/*")).await?;
                    }
                    Ok::<_, String>((endpoint, stream))
                };
                match begun.await {
                    Ok(pair) => kept.borrow_mut().push(pair),
                    Err(text) => *error.borrow_mut() = Some(text),
                }
            }
        }
    };
    together((0..16).map(one).collect()).await;
    if let Some(text) = error.take() {
        return Err(format!("connection {}: {text}", kept.borrow().len() + 1));
    }
    let (connect_s, connect_cpu) = ((now_ns() - began) as f64 * 1e-9, cpu_s(options.server_pid));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (rss_end, cpu, held) = (rss_kib(options.server_pid), cpu_s(options.server_pid), now_ns());
    tokio::time::sleep(Duration::from_secs_f64(options.hold_s)).await;
    let held_s = (now_ns() - held) as f64 * 1e-9;
    let hold_cpu = cpu_s(options.server_pid).zip(cpu).map(|(after, before)| after - before);
    let ended = kept.borrow().iter().filter(|(_, stream)| stream.connection.close_reason().is_some()).count();
    let kept = kept.take();
    for (_, stream) in &kept {
        stream.connection.close(0u32.into(), b"done");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(format!(
        concat!(
            "{{\"idle\": {}, \"ended\": {}, \"connect_s\": {:.3}, \"connect_cpu_s\": {}, \"hold_s\": {:.3}, ",
            "\"hold_cpu_s\": {}, \"rss_start_kib\": {}, \"rss_end_kib\": {}}}"
        ),
        kept.len(),
        ended,
        connect_s,
        json_of(connect_cpu.zip(cpu_start).map(|(after, before)| after - before)),
        held_s,
        json_of(hold_cpu),
        json_of(rss_start.map(|kib| kib as f64)),
        json_of(rss_end.map(|kib| kib as f64)),
    ))
}

/// All of these at once, on this thread.
async fn together<F: std::future::Future<Output = ()>>(futures: Vec<F>) {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if waiting.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}
