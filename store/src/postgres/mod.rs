//! Records in PostgreSQL: one table, every change one statement that names the version it replaces.
//!
//! A statement is its own transaction, so that it happens wholly or not at all, whatever isolation the server defaults to;
//! what it fails with for reasons that pass (serialisation, deadlock, time, no free connection) is
//! [`StoreError::Unavailable`]. A removed record leaves its row without a value: its version goes on, and who had
//! read it before cannot bring it back.
//!
//! Nothing is encrypted here: records hold DEKs only as the KEK wrapped them.

mod open;
#[cfg(test)]
mod tests;

use crate::{Deferred, Rows, Store, StoreError, Stored, Table, check, exists, fits, missing, said};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Error, Row};
use std::future::Future;
use std::time::Duration;

const CREATE: &str = "INSERT INTO dawnkey_records AS r (kind, key, version, value) VALUES ($1, $2, 1, $3) \
    ON CONFLICT (kind, key) DO UPDATE SET version = r.version + 1, value = excluded.value WHERE r.value IS NULL";
const GET: &str =
    "SELECT version, value FROM dawnkey_records WHERE kind = $1 AND key = $2 AND value IS NOT NULL";
const CHANGE: &str = "UPDATE dawnkey_records SET version = version + 1, value = $4 \
    WHERE kind = $1 AND key = $2 AND version = $3 AND value IS NOT NULL RETURNING version";
const LIST: &str = "SELECT key, version, value FROM dawnkey_records \
    WHERE kind = $1 AND value IS NOT NULL ORDER BY key";

/// Records in a database of PostgreSQL.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    deadline: Duration,
}

impl PostgresStore {
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = |_| {
            let waited = self.deadline.as_millis();
            StoreError::Unavailable(format!("postgres: no answer within {waited} ms"))
        };
        tokio::time::timeout(self.deadline, work)
            .await
            .map_err(late)?
    }

    async fn read(&self, table: Table, key: &[u8]) -> Result<Stored, StoreError> {
        let row = sqlx::query(GET).bind(table.name()).bind(key);
        let row = row.fetch_optional(&self.pool).await.map_err(down)?;
        stored(table, key, &row.ok_or_else(|| missing(table, key))?)
    }

    /// Replaces a record that still has that version; without a value, removes it.
    async fn change(
        &self,
        table: Table,
        key: &[u8],
        expected: u64,
        value: Option<Vec<u8>>,
    ) -> Result<u64, StoreError> {
        let Ok(named) = i64::try_from(expected) else {
            let found = self.read(table, key).await?.version;
            check(table, key, expected, found)?;
            return Ok(found);
        };
        let changed = sqlx::query(CHANGE)
            .bind(table.name())
            .bind(key)
            .bind(named)
            .bind(value)
            .fetch_optional(&self.pool)
            .await
            .map_err(down)?;
        if let Some(row) = changed {
            return version(table, key, &row);
        }
        let found = self.read(table, key).await?.version;
        check(table, key, expected, found)?;
        // It came to that version between the two statements: nothing of ours goes back to a version.
        Err(StoreError::Unavailable(
            "postgres: the record went back to an older version".into(),
        ))
    }
}

fn damaged(table: Table, key: &[u8], problem: String) -> StoreError {
    StoreError::Damaged {
        table,
        key: hex::encode(key),
        problem,
    }
}

fn version(table: Table, key: &[u8], row: &PgRow) -> Result<u64, StoreError> {
    let version: i64 = row.try_get("version").map_err(down)?;
    u64::try_from(version).map_err(|_| damaged(table, key, format!("its version is {version}")))
}

fn stored(table: Table, key: &[u8], row: &PgRow) -> Result<Stored, StoreError> {
    Ok(Stored {
        version: version(table, key, row)?,
        value: row.try_get("value").map_err(down)?,
    })
}

/// Every failure of the database is one of now: what it says of a record is in its rows.
#[allow(clippy::needless_pass_by_value)] // as map_err gives it
fn down(error: Error) -> StoreError {
    let text = match &error {
        Error::Database(said) => {
            let code = said.code().unwrap_or_default();
            format!("{} ({code})", said.message())
        }
        other => other.to_string(),
    };
    StoreError::Unavailable(format!("postgres: {}", said(&text)))
}

impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn create<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        value: Vec<u8>,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(self.in_time(async move {
            fits(table, key, &value)?;
            let query = sqlx::query(CREATE).bind(table.name()).bind(key).bind(value);
            let done = query.execute(&self.pool).await.map_err(down)?;
            match done.rows_affected() {
                0 => Err(exists(table, key)),
                _ => Ok(()),
            }
        }))
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>> {
        Box::pin(self.in_time(self.read(table, key)))
    }

    fn swap<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
        value: Vec<u8>,
    ) -> Deferred<'a, Result<u64, StoreError>> {
        Box::pin(self.in_time(async move {
            fits(table, key, &value)?;
            self.change(table, key, expected, Some(value)).await
        }))
    }

    fn remove<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(
            self.in_time(async move { self.change(table, key, expected, None).await.map(drop) }),
        )
    }

    fn list(&self, table: Table) -> Deferred<'_, Result<Rows, StoreError>> {
        Box::pin(self.in_time(async move {
            let rows = sqlx::query(LIST).bind(table.name()).fetch_all(&self.pool);
            let rows = rows.await.map_err(down)?;
            rows.iter()
                .map(|row| {
                    let key: Vec<u8> = row.try_get("key").map_err(down)?;
                    let stored = stored(table, &key, row)?;
                    Ok((key, stored))
                })
                .collect()
        }))
    }
}
