//! The reference's QUIC transport as a client, driven by lines: what it is told to send goes out in one write of that
//! transport, what one read of it brings is printed.
//!
//! Usage: clasp-quic-client ADDRESS:PORT SERVER_NAME CERTIFICATE.der. Prints `connected`. A line on its input is
//! hexadecimal and sent; an empty line ends it. Its output has `data HEX` for each read, and `ended REASON`.

use std::io::Write;

use bytes::Bytes;
use clasp_transport::quic::{CertVerification, QuicConfig, QuicTransport};
use clasp_transport::{TransportEvent, TransportReceiver, TransportSender};
use tokio::io::{AsyncBufReadExt, BufReader};

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().expect("the output is gone");
}

fn bytes_of(line: &str) -> Bytes {
    let digits = line.trim();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a line is hexadecimal"))
        .collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, certificate] = arguments.as_slice() else {
        panic!("usage: clasp-quic-client ADDRESS:PORT SERVER_NAME CERTIFICATE.der");
    };
    let root = std::fs::read(certificate).expect("the certificate cannot be read");
    let transport = QuicTransport::new_client_with_config(QuicConfig {
        cert_verification: CertVerification::CustomRoots(vec![root]),
        ..QuicConfig::default()
    })
    .expect("no endpoint");
    let connection = transport
        .connect(address.parse().expect("ADDRESS:PORT"), name)
        .await
        .expect("no connection");
    let (sender, mut receiver) = connection.open_bi().await.expect("no stream");
    say("connected");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) if !line.is_empty() => sender.send(bytes_of(&line)).await.expect("not sent"),
                _ => break,
            },
            event = receiver.recv() => match event {
                Some(TransportEvent::Data(data)) => {
                    let text: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
                    say(&format!("data {text}"));
                }
                Some(TransportEvent::Connected) => {}
                other => {
                    say(&format!("ended {other:?}"));
                    break;
                }
            },
        }
    }
    connection.close(0, "done");
}
