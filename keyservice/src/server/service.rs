//! Starting and stopping a key service.

use super::accept::{Audience, Door, accept};
use super::admin::Admins;
use super::health;
use super::limits::{ConnectionCap, RateLimit};
use super::nodes::Nodes;
use super::providers;
use super::tls::{self, IdentityError, LiveTls};
use crate::audit::{AuditLog, Entry, LogError};
use crate::config::{Config, Limits, Start};
use crate::data_keys::{DataKeys, Reviewer};
use crate::desk::{Clock, Desk, Gate, Parts};
use crate::kek::{RingError, Watch};
use crate::kubernetes::{self, SocketError};
use crate::metrics::Metrics;
use crate::policy::{Policy, PolicyError, Severity, lint};
use crate::records::Records;
use crate::report::{self, Event};
use crate::watched_store::WatchedStore;
use dawnkey_endorse::{Endorsements, SetupError, Trust};
use dawnkey_kek::KekError;
use dawnkey_proto::MAX_MESSAGE_BYTES;
use dawnkey_proto::data_key::api_server::ApiServer;
use dawnkey_proto::wire::admin_server::AdminServer;
use dawnkey_proto::wire::kek_admin_server::KekAdminServer;
use dawnkey_proto::wire::key_service_server::KeyServiceServer;
use dawnkey_store::{OpenError, Store};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

/// How long a connection of an operator or of a caller in a cluster may live.
const LONG_LIFE: Duration = Duration::from_secs(600);

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its TLS identity is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its policy is not usable.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A provider of key-encryption keys cannot be opened.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// The ring of these providers cannot be joined.
    #[error("ring of KEK providers: {0}")]
    Ring(#[from] RingError),
    /// The master secret of a `cluster` provider cannot be opened or wrapped.
    #[error("wrapped master secret of `{provider}` {}: {problem}", .path.display())]
    WrappedMaster {
        /// Name of the provider.
        provider: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The public key of the offline recovery recipient is not usable.
    #[error("read {path} (kek.recovery_recipient): {problem}")]
    Recipient {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Its audit log cannot be continued.
    #[error(transparent)]
    Audit(#[from] LogError),
    /// Its endorsements cannot be kept or had.
    #[error("endorsements: {0}")]
    Endorsements(#[from] SetupError),
    /// It cannot listen.
    #[error("listen on {address} (listen.{what}): {source}")]
    Listen {
        /// The listener.
        what: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Kubernetes plugin cannot listen.
    #[error(transparent)]
    Kubernetes(#[from] SocketError),
    /// The actual addresses cannot be written down.
    #[error("write {path} (listen.addresses_file): {source}")]
    AddressesFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Actual addresses of the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Nodes.
    pub unlock: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
    /// Health and metrics.
    pub metrics: SocketAddr,
    /// Callers in a cluster, if they are served.
    pub data_keys: Option<SocketAddr>,
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "unlock = \"{}\"", self.unlock)?;
        writeln!(f, "admin = \"{}\"", self.admin)?;
        writeln!(f, "metrics = \"{}\"", self.metrics)?;
        match self.data_keys {
            Some(address) => writeln!(f, "data_keys = \"{address}\""),
            None => Ok(()),
        }
    }
}

/// Starts key services.
#[derive(Debug)]
pub struct Service;

/// A key service at work. Dropping it leaves it running; [`Running::shutdown`] ends it.
pub struct Running {
    /// Where it listens.
    pub addresses: Addresses,
    pub(super) desk: Arc<Desk>,
    pub(super) config: Config,
    pub(super) tls: Arc<LiveTls>,
    stop: CancellationToken,
    tasks: TaskTracker,
    servers: Vec<JoinHandle<()>>,
    shutdown_seconds: u32,
}

impl Service {
    /// Opens store and audit log, binds the listeners and begins to answer.
    pub async fn start(start: Start) -> Result<Running, StartError> {
        Self::start_at(start, Arc::new(Timestamp::now)).await
    }

    /// Like [`Service::start`], with another clock for leases and dates.
    pub async fn start_at(start: Start, clock: Clock) -> Result<Running, StartError> {
        let store = start.config.store.open().await?;
        Self::start_over(start, clock, store).await
    }

    /// Like [`Service::start_at`], over a store that is open already.
    pub async fn start_over(
        start: Start,
        clock: Clock,
        store: Arc<dyn Store>,
    ) -> Result<Running, StartError> {
        let Start { config, masters } = start;
        let loaded = tls::load(&config.tls, config.data_keys.as_ref())?;
        let policy = Policy::load(&config.policy)?;
        let metrics = Arc::new(Metrics::default());
        let store = WatchedStore::new(store, Arc::clone(&metrics));
        let audit = Arc::new(AuditLog::open(&config.audit, &metrics)?);
        let limits = &config.limits;
        let gate = Gate::new(
            limits.concurrent_unlocks,
            limits.queue,
            Limits::seconds(limits.queue_seconds),
            Arc::clone(&metrics),
        );
        let records = Records::new(Arc::new(store));
        let watch = Watch::new(Arc::clone(&audit), Arc::clone(&metrics));
        let ring = providers::ring(&config.kek, masters, &records, &clock, &watch).await?;
        announce(&config, &policy);
        let begun = Entry::new("start")
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("service", config.service_id.to_string())
            .with("policy", policy.digest.clone());
        audit.append(begun).await?;
        let endorsements = endorsements(&config, &policy, &clock)?;
        if let Some(endorsements) = &endorsements {
            endorsements.survey().await;
        }
        let desk = Desk::new(Parts {
            service_id: config.service_id,
            records,
            ring,
            audit,
            metrics,
            clock,
            lease_seconds: limits.lease_seconds,
            gate,
            policy,
        });
        let desk = desk
            .with_endorsements(endorsements)
            .with_skew(config.skew_seconds());
        listen(config, loaded, Arc::new(desk)).await
    }
}

/// Opens the store of endorsements, if one is configured.
fn endorsements(
    config: &Config,
    policy: &Policy,
    clock: &Clock,
) -> Result<Option<Arc<Endorsements>>, SetupError> {
    let Some(settings) = &config.endorsements else {
        return Ok(None);
    };
    let trust = Trust::from(&policy.roots);
    let endorsements = Endorsements::open(settings, trust, Arc::clone(clock))?;
    report::emit(&Event::Endorsements {
        path: &settings.path,
        online: settings.online.is_some(),
    });
    Ok(Some(endorsements))
}

fn announce(config: &Config, policy: &Policy) {
    report::emit(&Event::PolicyLoaded {
        path: &config.policy,
        digest: &policy.digest,
    });
    for finding in lint(policy) {
        if finding.severity > Severity::Note {
            report::emit(&Event::PolicyFinding {
                key: &finding.key,
                problem: &finding.problem,
            });
        }
    }
}

async fn bind(
    what: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        what,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    report::emit(&Event::Listening { what, address });
    Ok((listener, address))
}

async fn listen(
    config: Config,
    loaded: tls::Loaded,
    desk: Arc<Desk>,
) -> Result<Running, StartError> {
    let (unlock, unlock_address) = bind("unlock", config.listen.unlock).await?;
    let (admin, admin_address) = bind("admin", config.listen.admin).await?;
    let (metrics, metrics_address) = bind("metrics", config.listen.metrics).await?;
    let guests = match &config.data_keys {
        Some(settings) => {
            let (listener, address) = bind("data_keys", settings.listen).await?;
            Some((settings.clone(), listener, address))
        }
        None => None,
    };
    let addresses = Addresses {
        data_keys: guests.as_ref().map(|(.., address)| *address),
        unlock: unlock_address,
        admin: admin_address,
        metrics: metrics_address,
    };
    if let Some(path) = &config.listen.addresses_file {
        write_whole(path, &addresses.to_string()).map_err(|source| StartError::AddressesFile {
            path: path.clone(),
            source,
        })?;
    }
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let live = LiveTls::new(loaded);
    let door = |audience, life| Door {
        tls: Arc::clone(&live),
        rate: RateLimit::new(config.limits.per_peer_per_minute),
        cap: ConnectionCap::new(
            config.limits.connections,
            config.limits.connections_per_peer,
        ),
        handshake: Limits::seconds(config.limits.handshake_seconds),
        life,
        audience,
        metrics: Arc::clone(&desk.metrics),
    };
    let life = Limits::seconds(config.limits.connection_seconds);
    let nodes = KeyServiceServer::new(Nodes {
        desk: Arc::clone(&desk),
        tasks: tasks.clone(),
    });
    let nodes = nodes.max_decoding_message_size(MAX_MESSAGE_BYTES);
    let nodes = grpc().add_service(nodes).serve_with_incoming_shutdown(
        accept(unlock, door(Audience::Nodes, life), stop.clone()),
        stop.clone().cancelled_owned(),
    );
    let admins = Admins {
        desk: Arc::clone(&desk),
        tasks: tasks.clone(),
    };
    let keks = KekAdminServer::new(admins.clone());
    let admins = grpc()
        .add_service(AdminServer::new(admins))
        .add_service(keks);
    let admins = admins.serve_with_incoming_shutdown(
        accept(admin, door(Audience::Operators, LONG_LIFE), stop.clone()),
        stop.clone().cancelled_owned(),
    );
    let mut servers = vec![
        // The servers end with the listeners; an error of one connection is not theirs.
        tokio::spawn(async { drop(nodes.await) }),
        tokio::spawn(async { drop(admins.await) }),
        tokio::spawn(health::serve(metrics, Arc::clone(&desk), stop.clone())),
    ];
    if let Some((settings, listener, _)) = guests {
        let reviewer = settings.kubernetes.map(Reviewer::new).transpose();
        let reviewer = reviewer.map_err(IdentityError::Tls)?;
        let service = ApiServer::new(DataKeys {
            desk: Arc::clone(&desk),
            tasks: tasks.clone(),
            reviewer: reviewer.map(Arc::new),
        });
        let incoming = accept(listener, door(Audience::Guests, LONG_LIFE), stop.clone());
        let server = grpc()
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        servers.push(tokio::spawn(async { drop(server.await) }));
    }
    if let Some(plugin) = &config.kubernetes_kms {
        servers.push(kubernetes::serve(plugin, Arc::clone(&desk), stop.clone()).await?);
        report::emit(&Event::PluginListening {
            socket: &plugin.socket,
        });
    }
    providers::keep(&desk, &stop);
    if let Some(endorsements) = desk.endorsements().cloned() {
        let stop = stop.clone().cancelled_owned();
        // Ends with the service; what it fetches is written as a whole or not at all.
        tokio::spawn(async move {
            tokio::select! {
                () = stop => {}
                () = endorsements.keep_fresh() => {}
            }
        });
    }
    Ok(Running {
        addresses,
        desk,
        shutdown_seconds: config.limits.shutdown_seconds,
        config,
        tls: live,
        stop,
        tasks,
        servers,
    })
}

/// gRPC over our streams: dead peers are found by pings, nobody opens many streams.
fn grpc() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_concurrent_streams(8)
        .http2_max_header_list_size(16 << 10)
}

/// Writes a file so that readers see all of it or none.
fn write_whole(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let part = PathBuf::from(name);
    std::fs::write(&part, text)?;
    std::fs::rename(&part, path)
}

impl Running {
    /// Stops accepting, finishes what was begun within the configured time, and closes the audit log.
    ///
    /// Returns whether everything was finished in time.
    pub async fn shutdown(self) -> bool {
        let seconds = self.shutdown_seconds;
        report::emit(&Event::Stopping { seconds });
        self.stop.cancel();
        self.tasks.close();
        let aborts: Vec<_> = self.servers.iter().map(JoinHandle::abort_handle).collect();
        let finish = async {
            for server in self.servers {
                // A server that panicked has stopped.
                let _ = server.await;
            }
            self.tasks.wait().await;
            let _ = self.desk.audit.append(Entry::new("stop")).await;
        };
        let in_time = tokio::time::timeout(Limits::seconds(seconds), finish)
            .await
            .is_ok();
        for server in aborts {
            server.abort();
        }
        report::emit(if in_time {
            &Event::Stopped
        } else {
            &Event::StoppedLate
        });
        in_time
    }
}
