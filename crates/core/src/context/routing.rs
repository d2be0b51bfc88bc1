//! What a request records where several upstreams are in use, or the shell keeps an audit log.

use std::sync::Arc;

use super::{RequestContext, SignatureNotes};
use crate::platform::Platform;

/// The course of a request among several upstreams. Boxed, since most operators have one.
#[derive(Debug, Default)]
pub(super) struct Routing {
    /// The name of the upstream that serves the request.
    upstream: Option<Arc<str>>,
    /// The upstream that has failed before, for which this one stands in.
    pub(super) failover_from: Option<Arc<str>>,
    /// Where the signatures in the answer are noted; `None` where all upstreams are of one provider.
    signatures: Option<SignatureNotes>,
    /// The model in the path of a request, for the audit log.
    pub(super) asked_model: Option<Arc<str>>,
}

impl<P: Platform> RequestContext<P> {
    /// The name of the upstream that serves the request, where several are in use.
    pub(crate) fn upstream(&self) -> Option<&Arc<str>> {
        self.routing.as_ref()?.upstream.as_ref()
    }

    /// Where the signatures in the answer are noted, if they are.
    pub(crate) fn signatures(&self) -> Option<&SignatureNotes> {
        self.routing.as_ref()?.signatures.as_ref()
    }

    /// Records the upstream that serves the request.
    pub(crate) fn set_upstream(&mut self, name: &Arc<str>) {
        self.routing_mut().upstream = Some(Arc::clone(name));
    }

    /// Records the upstream that has failed before.
    pub(crate) fn set_failover_from(&mut self, name: Option<&Arc<str>>) {
        self.routing_mut().failover_from = name.cloned();
    }

    /// Sets where the signatures in the answer are noted.
    pub(crate) fn set_signatures(&mut self, notes: SignatureNotes) {
        self.routing_mut().signatures = Some(notes);
    }

    /// Records the model for which the client asks, before it is known whether it gets it.
    pub(crate) fn set_asked_model(&mut self, model: &Arc<str>) {
        self.routing_mut().asked_model = Some(Arc::clone(model));
    }

    fn routing_mut(&mut self) -> &mut Routing {
        self.routing.get_or_insert_default()
    }
}
