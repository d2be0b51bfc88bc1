//! The waits for memory: a request waits unread while too little of the memory budget is free. And work on
//! large bodies, which keeps their memory reserved until it has ended.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::context::RequestContext;
use crate::error::{Error, OVERLOADED};
use crate::platform::{HEAVY, Platform};
use crate::policy::memory::{MemoryBudget, REQUEST_BASE};
use crate::record::StepKind;
use crate::wait::{poll_until, within};

/// Reserves memory for a request. While too little is free, the request waits, for `longest` at most and
/// within its client's deadline.
pub(crate) async fn reserve<P: Platform>(
    budget: &Arc<MemoryBudget>,
    bytes: usize,
    longest: Duration,
    context: &mut RequestContext<P>,
) -> Result<(), Error> {
    if let Some(memory) = budget.try_reserve(context.caller, bytes) {
        context.memory = Some(memory);
        return Ok(());
    }
    // Boxed to keep the futures of requests small that need not wait.
    Box::pin(async {
        let caller = context.caller;
        if bytes <= REQUEST_BASE {
            let ask = |_: &mut RequestContext<P>| budget.try_reserve(caller, bytes);
            context.memory = Some(poll(context, longest, ask).await?);
            return Ok(());
        }
        let ticket = budget.wait(caller, bytes).ok_or(OVERLOADED)?;
        context.memory = Some(poll(context, longest, |_| ticket.try_take()).await?);
        Ok(())
    })
    .await
}

/// Reserves more memory for a request that has some. It waits as in [`reserve`], unless requests that
/// wait for more would wait for each other.
pub(crate) async fn grow<P: Platform>(
    context: &mut RequestContext<P>,
    more: usize,
    longest: Duration,
) -> Result<(), Error> {
    if context.try_grow_memory(more) {
        return Ok(());
    }
    let Some(memory) = &context.memory else { return Ok(()) };
    if memory.bytes().saturating_add(more) > memory.most() {
        return Err(OVERLOADED);
    }
    let _waiting = memory.wait_to_grow(more).ok_or(OVERLOADED)?;
    poll(context, longest, |context| context.try_grow_memory(more).then_some(())).await
}

/// Works on so many bytes: at once if they are few, else where large work is done. There it waits as in
/// [`reserve`] until it begins.
pub(crate) async fn work_on<P: Platform, T: Send + 'static>(
    length: usize,
    context: &mut RequestContext<P>,
    longest: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if length <= HEAVY {
        return Ok(work());
    }
    Box::pin(async {
        let platform = context.platform().clone();
        let (limit, late) = context.wait_limit(longest, |_| OVERLOADED, platform.now());
        // The work goes on when its client has gone, and holds its bytes until it has ended.
        let memory = context.memory.take();
        let done = platform.heavy(limit, move || (work(), memory)).await;
        let (result, memory) = done.ok_or(late)?;
        context.memory = memory;
        Ok(result)
    })
    .await
}

/// Polls for memory for `longest` at most, within the client's deadline.
async fn poll<P: Platform, T>(
    context: &mut RequestContext<P>,
    longest: Duration,
    mut ask: impl FnMut(&mut RequestContext<P>) -> Option<T>,
) -> Result<T, Error> {
    let platform = context.platform().clone();
    let began = platform.now();
    let (limit, late) = context.wait_limit(longest, |_| OVERLOADED, began);
    let answer = {
        let polling = pin!(poll_until(&platform, None, began, |_| ask(context).map(Ok)));
        within(&platform, limit, polling).await
    };
    let then = platform.now();
    context.timings.queue += then.since(began);
    context.note_step(StepKind::Queue, began, then);
    answer.map_or(Err(late), |(answer, _)| answer)
}
