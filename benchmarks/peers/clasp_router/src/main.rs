//! The reference router, set up for a fair comparison: nothing of what it could switch off is left to slow it down.
//!
//! Usage: clasp-router-peer ADDRESS:PORT [MAX_PARAMS] [--osc ADDRESS:PORT] [--session-timeout SECONDS]
//! [--quic ADDRESS:PORT CERTIFICATE.der KEY.der] [--journal FILE] [--leaf HUB_URL --id NAME --owns PATTERN...]. Prints `ready ADDRESS:PORT` when the port answers. With `--osc` its OSC
//! adapter listens there, too; with `--quic` it is reached over QUIC as well; with `--journal` it keeps one, in SQLite. Any router that dials in may be its leaf; with `--leaf` it is one itself. With `--features`
//! alone it prints what it was built with.

mod leaf;

use std::sync::Arc;
use std::time::Duration;

use clasp_core::state::StateStoreConfig;
use clasp_core::SecurityMode;
use clasp_journal::SqliteJournal;
use clasp_router::adapters::OscServerConfig;
use clasp_router::{MultiProtocolConfig, QuicServerConfig, Router, RouterConfig, RouterStateConfig};

/// The router's own default is 10,000; above it every new address scans for the least recently used one.
const MAX_PARAMS: usize = 1_000_000;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:7330".to_string());
    if address == "--features" {
        println!("federation journal mqtt osc quic");
        return;
    }
    let mut max_params = MAX_PARAMS;
    let mut osc = None;
    let mut quic = None;
    let mut journal = None;
    let mut session_timeout = RouterConfig::default().session_timeout;
    let mut leaf = leaf::Leaf::default();
    while let Some(argument) = args.next() {
        if argument == "--osc" {
            osc = Some(OscServerConfig {
                bind_addr: args.next().expect("--osc takes ADDRESS:PORT"),
                ..OscServerConfig::default()
            });
        } else if argument == "--quic" {
            let address = args.next().expect("--quic takes ADDRESS:PORT");
            let mut file = || {
                let name = args.next().expect("--quic takes a certificate and a key");
                std::fs::read(name).expect("the certificate or its key cannot be read")
            };
            quic = Some(QuicServerConfig {
                addr: address.parse().expect("--quic takes ADDRESS:PORT"),
                cert: file(),
                key: file(),
            });
        } else if argument == "--session-timeout" {
            let seconds = args.next().expect("--session-timeout takes SECONDS");
            session_timeout = seconds.parse().expect("SECONDS is a number");
        } else if argument == "--journal" {
            let file = args.next().expect("--journal takes FILE");
            journal = Some(SqliteJournal::new(&file).expect("the journal cannot be opened"));
        } else if argument == "--leaf" {
            leaf.hub = args.next().expect("--leaf takes HUB_URL");
        } else if argument == "--id" {
            leaf.id = args.next().expect("--id takes NAME");
        } else if argument == "--owns" {
            leaf.owns.push(args.next().expect("--owns takes PATTERN"));
        } else {
            max_params = argument.parse().expect("MAX_PARAMS is a number");
        }
    }

    let mut router = Router::new(RouterConfig {
        max_sessions: 10_000,
        session_timeout,
        max_subscriptions_per_session: 0,
        rate_limiting_enabled: false,
        max_messages_per_second: 0,
        security_mode: SecurityMode::Open,
        state_config: RouterStateConfig {
            param_config: StateStoreConfig {
                max_params: Some(max_params),
                ..StateStoreConfig::default()
            },
            ..RouterStateConfig::default()
        },
        ..RouterConfig::default()
    });

    if let Some(journal) = journal {
        router = router.with_journal(Arc::new(journal));
    }

    if !leaf.hub.is_empty() {
        let (sessions, subscriptions, state) = router.shared_state();
        tokio::spawn(leaf.run(sessions, subscriptions, state));
    }

    let announced = address.clone();
    tokio::spawn(async move {
        // The library does not tell when it has bound its port, so the port itself is asked.
        while tokio::net::TcpStream::connect(&announced).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("ready {announced}");
    });
    let served = if osc.is_none() && quic.is_none() {
        router.serve_websocket(&address).await
    } else {
        router
            .serve_all(MultiProtocolConfig {
                websocket_addr: Some(address.clone()),
                osc,
                quic,
                ..MultiProtocolConfig::default()
            })
            .await
    };
    if let Err(error) = served {
        eprintln!("clasp-router-peer: {address}: {error}");
        std::process::exit(1);
    }
}
