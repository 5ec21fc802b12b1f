//! Connecting, bringing the schema up to date, and what the server must promise.

use super::PostgresStore;
use crate::config::{PostgresConfig, Tls};
use crate::{Inspected, OpenError};
use sqlx::Row;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use std::net::IpAddr;
use std::time::Duration;

const KIND: &str = "postgres";
const KNOWN: &str = "SELECT to_regclass('dawnkey_records') IS NOT NULL AS known";
const SETTINGS: &str = "SELECT current_setting('synchronous_commit') AS commit, \
    current_setting('fsync') AS fsync, pg_is_in_recovery() AS replica, \
    current_setting('transaction_read_only') AS read_only";

impl PostgresStore {
    /// Connects, brings the schema up to date, and refuses a server that may forget or cannot write.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &PostgresConfig) -> Result<Self, OpenError> {
        let (pool, deadline) = connect(config, config.connections.max(1)).await?;
        migrations()
            .run(&pool)
            .await
            .map_err(|e| failed(config, &format!("bring the schema up to date: {e}")))?;
        Ok(Self { pool, deadline })
    }

    /// Connects and looks, without a change of the schema.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn inspect(config: &PostgresConfig) -> Result<Inspected, OpenError> {
        let (pool, _) = connect(config, 1).await?;
        let row = sqlx::query(KNOWN).fetch_one(&pool).await;
        let known = row.and_then(|row| row.try_get::<bool, _>("known"));
        pool.close().await;
        match known.map_err(|e| failed(config, &e.to_string()))? {
            true => Ok(Inspected::Usable),
            false => Ok(Inspected::New),
        }
    }
}

/// Connects, and refuses a server that may forget or cannot write.
async fn connect(
    config: &PostgresConfig,
    connections: u32,
) -> Result<(PgPool, Duration), OpenError> {
    let deadline = Duration::from_secs(config.deadline_seconds.max(1).into());
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(deadline)
        .connect_with(options(config, deadline)?)
        .await
        .map_err(|e| failed(config, &e.to_string()))?;
    promises(config, &pool).await?;
    Ok((pool, deadline))
}

fn wrong(problem: impl Into<String>) -> OpenError {
    OpenError::Config {
        kind: KIND,
        problem: problem.into(),
    }
}

fn failed(config: &PostgresConfig, problem: &str) -> OpenError {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    OpenError::Broken {
        kind: KIND,
        place: format!("{} on {}", config.database, config.host),
        problem: problem.chars().map(shown).take(400).collect(),
    }
}

fn options(config: &PostgresConfig, deadline: Duration) -> Result<PgConnectOptions, OpenError> {
    let socket = config.host.starts_with('/');
    let loopback = config.host == "localhost"
        || config
            .host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    let mode = match config.tls {
        _ if socket => PgSslMode::Disable,
        Tls::VerifyFull => PgSslMode::VerifyFull,
        Tls::Off if loopback => PgSslMode::Disable,
        Tls::Off => {
            return Err(wrong(
                "tls = \"off\" is for a server on a loopback address only",
            ));
        }
    };
    // Nothing is taken from libpq's environment or password file.
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(config.port)
        .username(&config.user)
        .database(&config.database)
        .ssl_mode(mode)
        .application_name("dawnkey-keyservice")
        .options([("statement_timeout", deadline.as_millis().to_string())]);
    options = match socket {
        true => options.socket(&config.host),
        false => options.host(&config.host),
    };
    if let Some(source) = &config.password {
        let password = source.read().map_err(|e| wrong(e.to_string()))?;
        let text = std::str::from_utf8(password.expose());
        let text = text.map_err(|_| wrong("the password is not UTF-8"))?;
        options = options.password(text);
    }
    if let Some(ca) = &config.ca {
        options = options.ssl_root_cert(ca);
    }
    match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            Ok(options.ssl_client_cert(certificate).ssl_client_key(key))
        }
        (None, None) => Ok(options),
        _ => Err(wrong("certificate and key: one of them is missing")),
    }
}

/// What a change that was reported as done must survive, and that there can be changes.
async fn promises(config: &PostgresConfig, pool: &PgPool) -> Result<(), OpenError> {
    let row = sqlx::query(SETTINGS).fetch_one(pool).await;
    let row = row.map_err(|e| failed(config, &e.to_string()))?;
    let text = |name: &str| row.try_get::<String, _>(name);
    let read = || -> Result<_, sqlx::Error> {
        let replica: bool = row.try_get("replica")?;
        Ok((text("commit")?, text("fsync")?, replica, text("read_only")?))
    };
    let (commit, fsync, replica, read_only) = read().map_err(|e| failed(config, &e.to_string()))?;
    let problem = if replica {
        "it is a read-only replica; name the primary"
    } else if commit == "off" {
        "synchronous_commit is off for this role: a release that was answered could be forgotten; set it to on"
    } else if fsync == "off" {
        "fsync is off: a release that was answered could be forgotten; set it to on"
    } else if read_only == "on" {
        "default_transaction_read_only is on for this role"
    } else {
        return Ok(());
    };
    Err(failed(config, problem))
}

fn migrations() -> Migrator {
    const RECORDS: &str = include_str!("../../migrations/0001_records.sql");
    let records = Migration::new(
        1,
        "records".into(),
        MigrationType::Simple,
        RECORDS.into_sql_str(),
        false,
    );
    let mut migrator = Migrator::with_migrations(vec![records]);
    migrator.dangerous_set_table_name("dawnkey_migrations");
    migrator
}
