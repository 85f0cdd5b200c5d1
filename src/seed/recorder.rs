//! Every write of the seed goes through here: recorded, sent, ended – in that order.
//!
//! It decides what an answer means for the ledger and nothing else.

use crate::client::http::{Answer, ClientError, Reply};
use crate::seed::ledger::{Attempt, Expectation, Ledger, WriteId};
use crate::seed::{Clock, SeedError};
use jiff::Timestamp;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A ledger that several writes under way share.
pub(crate) struct Recorder<'a> {
    ledger: Mutex<Ledger>,
    clock: Clock<'a>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(clock: Clock<'a>) -> Recorder<'a> {
        Recorder {
            ledger: Mutex::default(),
            clock,
        }
    }

    /// Goes on with a ledger.
    pub(crate) fn resume(ledger: Ledger, clock: Clock<'a>) -> Recorder<'a> {
        Recorder {
            ledger: Mutex::new(ledger),
            clock,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn into_ledger(self) -> Ledger {
        self.ledger.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn learned(&self, id: WriteId, expectation: Expectation) {
        self.ledger().learned(id, expectation);
    }

    /// A write that has to be acknowledged.
    pub(crate) async fn write<T>(
        &self,
        attempt: Attempt,
        call: impl Future<Output = Result<Answer<T>, ClientError>>,
    ) -> Result<(WriteId, T), SeedError> {
        let now = self.now();
        let id = self.ledger().sent(attempt, now);
        match call.await {
            Ok(answer) => {
                let now = self.now();
                self.ledger().acknowledged(id, answer.status, now);
                Ok((id, answer.value))
            }
            Err(error) => {
                self.failed(id, &error);
                Err(SeedError::Call(error))
            }
        }
    }

    /// A write whose answer has to have this status and error code. Below 300, or with a stored failure (5xx with an
    /// error code of the relay), it is acknowledged; a 4xx is the refusal that was asked for.
    pub(crate) async fn write_answered(
        &self,
        attempt: Attempt,
        wanted: (u16, Option<&str>),
        call: impl Future<Output = Result<Reply, ClientError>>,
    ) -> Result<(WriteId, Reply), SeedError> {
        let now = self.now();
        let id = self.ledger().sent(attempt, now);
        let reply = match call.await {
            Ok(reply) => reply,
            Err(error) => {
                self.failed(id, &error);
                return Err(SeedError::Call(error));
            }
        };
        if (reply.status, reply.error_code()) != wanted {
            let error = reply.malformed(format!(
                "wanted {} {}",
                wanted.0,
                wanted.1.unwrap_or("without an error")
            ));
            self.failed(id, &error);
            return Err(SeedError::Call(error));
        }
        let now = self.now();
        if (400..500).contains(&reply.status) {
            self.ledger().refused(id, Some(reply.status), now);
        } else {
            self.ledger().acknowledged(id, reply.status, now);
        }
        Ok((id, reply))
    }

    fn failed(&self, id: WriteId, error: &ClientError) {
        let now = self.now();
        let status = error.status();
        if error.never_sent() || status.is_some_and(|status| (400..500).contains(&status)) {
            self.ledger().refused(id, status, now);
        } else {
            self.ledger().unknown(id, status, now);
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
