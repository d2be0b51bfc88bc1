//! The classification of a failed try. A failure is classified once; the breaker, the retry policy, the
//! quota memory, the metrics and the answer all read the same class.

use std::time::Duration;

use http::StatusCode;

/// A failed try, in the form that policies read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    /// The delay that upstream asks for. Zero is a delay; `None` means that upstream named none.
    pub retry_delay: Option<Duration>,
    /// Upstream says that the model has no capacity left, for any account.
    pub no_capacity: bool,
    /// The answer is not the API's: it is a page of a load balancer or a captive portal.
    pub is_page: bool,
}

impl Failure {
    /// A failure of which only the class is known.
    pub fn new(class: FailureClass) -> Self {
        Self { class, retry_delay: None, no_capacity: false, is_page: false }
    }
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The account's owner has to act first: the account is suspended, or must be verified, or is used
    /// from a place where it is not offered.
    Account,
    /// Prepaid credits or a limit on spending are used up, for every model of the account.
    Billing,
    /// The connection broke after the response head had arrived, or upstream has reset the request's
    /// stream on a connection that lives. Upstream has probably carried the request out.
    BrokenAnswer,
    /// The operator's key is refused: it is wrong, restricted or dead.
    Credentials,
    /// The connection broke before the response head, after the request was (at least partly) sent.
    /// Upstream may have carried the request out.
    Disconnected,
    /// 504: upstream's own backend did not answer in time.
    GatewayTimeout,
    /// The proxy itself has refused the request, without asking upstream.
    Local,
    /// This machine has no file handle, memory, buffer or port left for a connection to upstream.
    LocalResources,
    /// The answer is not what the protocol says.
    Malformed,
    /// Upstream has answered as its protocol says, and the model has given nothing, or not the reason of its
    /// end. A client of the Gemini API gets this as a good answer, which it is for breakers too.
    NoAnswer,
    /// A stream ended without an event for the client.
    NoEvents,
    /// The connection broke, and upstream has certainly not processed the request.
    NotProcessed,
    /// The project cannot be used with this account.
    Project,
    /// A quota is exhausted until its reset.
    Quota,
    /// 429 that names a rate limit: a throttle of seconds, or of a minute.
    RateLimited,
    /// Any other 4xx: the request itself is at fault.
    Request,
    /// 500 or 502.
    ServerError,
    /// The proxy is stopping.
    ShuttingDown,
    /// 429 without a reason: shared capacity, or a block.
    Throttled,
    /// Upstream did not answer within the proxy's own time limit.
    TimedOut,
    /// 401: the access token was not accepted.
    Unauthenticated,
    /// 503.
    Unavailable,
    /// No connection could be made.
    Unreachable,
    /// A 5xx that no policy knows.
    UnknownServerError,
}

impl FailureClass {
    /// The class of a failure of which only the status is known.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::TOO_MANY_REQUESTS => Self::Throttled,
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => Self::ServerError,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::GATEWAY_TIMEOUT => Self::GatewayTimeout,
            status if status.is_server_error() => Self::UnknownServerError,
            _ => Self::Request,
        }
    }
}

/// A class of failures that another upstream may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverReason {
    /// The account or its key is refused.
    Account,
    /// A quota is used up until the next day or for good.
    Quota,
    /// Too many requests for now, for longer than a retry waits.
    Capacity,
    /// No endpoint can be reached.
    Unreachable,
    /// The upstream does not know the model.
    NotFound,
    /// Prepaid credits or a spending limit are used up.
    Billing,
}

impl FailoverReason {
    /// Every reason, in the order of the reference.
    pub const ALL: [Self; 6] = [
        Self::Account,
        Self::Quota,
        Self::Capacity,
        Self::Unreachable,
        Self::NotFound,
        Self::Billing,
    ];

    /// The word in `FAILOVER`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Unreachable => "unreachable",
            Self::NotFound => "not-found",
            Self::Billing => "billing",
        }
    }
}
