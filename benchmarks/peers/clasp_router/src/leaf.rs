//! The reference's federation link, connected to the router of this process.
//!
//! The library brings the link and leaves it to its user what becomes of the link's events; here they are applied as
//! the reference's own relay is known to do it, its weaknesses included: the hub's revision is taken for the one that
//! the param is expected to have, and nothing goes the other way.

use std::sync::Arc;
use std::time::Duration;

use clasp_core::{codec, Message, SetMessage, SignalType};
use clasp_federation::{FederationConfig, FederationLink, FederationMode, LinkEvent};
use clasp_router::{RouterState, Session, SessionId, SubscriptionManager};
use clasp_transport::{Transport, WebSocketTransport};
use dashmap::DashMap;
use tokio::sync::mpsc;

/// The relay's own.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

const EVENTS: usize = 1000;

type Sessions = Arc<DashMap<SessionId, Arc<Session>>>;

#[derive(Default)]
pub struct Leaf {
    pub hub: String,
    pub id: String,
    pub owns: Vec<String>,
}

impl Leaf {
    /// Stay connected to the hub, for ever. Tells each event of the link on standard error.
    pub async fn run(self, sessions: Sessions, subscriptions: Arc<SubscriptionManager>, state: Arc<RouterState>) {
        let (events, mut incoming) = mpsc::channel(EVENTS);
        tokio::spawn(self.dial(events));
        while let Some(event) = incoming.recv().await {
            match event {
                LinkEvent::RemoteSet { address, value, revision, origin } => {
                    match state.set(&address, value.clone(), &origin, revision, false, false, None) {
                        Ok(new) => {
                            let set = Message::Set(SetMessage {
                                address: address.clone(),
                                value,
                                revision: Some(new),
                                lock: false,
                                unlock: false,
                                ttl: None,
                            });
                            tell(&sessions, &subscriptions, &address, SignalType::Param, &set);
                        }
                        Err(error) => eprintln!("refused {address}: {error:?}"),
                    }
                }
                LinkEvent::RemotePublish { message, .. } => {
                    if let Message::Publish(publish) = &message {
                        let signal = publish.signal.unwrap_or(SignalType::Event);
                        tell(&sessions, &subscriptions, &publish.address, signal, &message);
                    }
                }
                other => eprintln!("{other:?}"),
            }
        }
    }

    async fn dial(self, events: mpsc::Sender<LinkEvent>) {
        let config = FederationConfig {
            mode: FederationMode::Leaf { hub_endpoint: self.hub.clone() },
            router_id: self.id.clone(),
            owned_namespaces: self.owns.clone(),
            ..FederationConfig::default()
        };
        loop {
            match WebSocketTransport::connect(&self.hub).await {
                Ok((sender, receiver)) => {
                    let link = FederationLink::new(config.clone(), Arc::new(sender), events.clone());
                    let end = link.run(Box::new(receiver)).await;
                    eprintln!("link ended: {end:?}");
                }
                Err(error) => eprintln!("no link to {}: {error}", self.hub),
            }
            tokio::time::sleep(RECONNECT_DELAY).await;
        }
    }
}

fn tell(
    sessions: &Sessions,
    subscriptions: &SubscriptionManager,
    address: &str,
    signal: SignalType,
    message: &Message,
) {
    let Ok(frame) = codec::encode(message) else { return };
    for id in subscriptions.find_subscribers(address, Some(signal)) {
        if let Some(session) = sessions.get(&id) {
            let _ = session.value().try_send(frame.clone());
        }
    }
}
