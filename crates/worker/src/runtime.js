// What the shell asks of the runtime, each with one call, and what the runtime has to tell: calls
// between the two languages, promises, and objects that only carry arguments are most of what a
// small request costs. Headers go over as one text, names and values line by line: neither can
// hold a line break.
//
// Promises stay on this side. Whatever is fulfilled here is told to the shell with one call, by the
// number of the work and of the thing awaited (`task.rs`).

// What is told, and what comes back for it; `task.rs` has the same numbers.
const MORE = 0, ENDED = 1, BROKEN = 2;
const RANG = 0, LEFT = 1, ROOM = 2;
const UNWANTED = 0, WANTED = 2;
const WORK_ITSELF = 0;

let hear, hearHead;

// The shell's ears, for as long as the isolate lives.
export const lend = (ears, earsForHeads) => {
  hear = ears;
  hearHead = earsForHeads;
};

const NOTHING = new Uint8Array(0);
const nothing = () => {};
const encoder = new TextEncoder();

const listed = (headers) => {
  let text = "";
  for (const [name, value] of headers) text += `${name}\n${value}\n`;
  return text;
};

// An object, which the runtime reads faster than pairs, unless a name is there twice.
const record = (lines, at) => {
  const headers = {};
  for (let n = at; n + 1 < lines.length; n += 2) {
    if (lines[n] in headers) return pairs(lines, at);
    headers[lines[n]] = lines[n + 1];
  }
  return headers;
};

const pairs = (lines, at) => {
  const headers = [];
  for (let n = at; n + 1 < lines.length; n += 2) headers.push([lines[n], lines[n + 1]]);
  return headers;
};

const joined = (chunks, size) => {
  if (chunks.length === 1) return chunks[0];
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
};

// A body on its way to the shell, as `op` of `task`. It is read when it is wanted, and what comes
// together goes over together: a chunk costs little here, and much there. Of a body that is no
// stream nothing is lost by waiting a little for what follows.
//
// A reader is never given back: that would have the runtime write out an error with its stack, for
// nobody.
class Source {
  constructor(event, op, stream, isLive) {
    this.event = event;
    this.op = op;
    this.reader = stream.getReader();
    this.isLive = isLive;
    this.chunks = [];
    this.size = 0;
    this.part = 0;
    this.last = 0;
    this.given = 0;
    this.end = MORE;
    this.why = NOTHING;
    this.isWanted = false;
    this.isReading = false;
    this.isWaiting = false;
    this.took = (result) => this.take(result);
    this.broke = (why) => this.stop(BROKEN, encoder.encode(String(why)));
  }

  want() {
    this.isWanted = true;
    if (this.size || this.end !== MORE) this.give();
    else this.read();
  }

  read() {
    if (this.isReading || this.end !== MORE) return;
    this.isReading = true;
    this.reader.read().then(this.took, this.broke);
  }

  take({ value, done }) {
    this.isReading = false;
    if (done) return this.stop(ENDED, NOTHING);
    const now = Date.now();
    const isLine = this.isLive && value[value.length - 1] === LINE_FEED;
    // One that comes in dribs and drabs is not to be taken for silence.
    const isDue = isLine ? now - this.last > APART : this.isLive && now - this.given > PATIENCE;
    if (isLine) this.last = now;
    this.chunks.push(value);
    this.size += value.length;
    // Lines go over as they come, and those that come on the heels of others when there are no more.
    // The runtime hands out many a line in two parts: the first by itself is of no use, unless it
    // is so long that the line may be too long.
    this.part = isLine ? 0 : this.part + value.length;
    if (isDue || this.size >= LARGE || (this.isLive && this.part >= PART)) return this.give();
    if ((isLine || !this.isLive) && !this.isWaiting) {
      this.isWaiting = true;
      setTimeout(() => {
        this.isWaiting = false;
        if (this.size) this.give();
      }, this.isLive ? 0 : PATIENCE);
    }
    if (this.isWanted) this.read();
  }

  stop(end, why) {
    this.isReading = false;
    this.end = end;
    this.why = why;
    this.give();
  }

  give() {
    while (this.isWanted && (this.size || this.end !== MORE)) {
      this.isWanted = false;
      let [what, bytes] = [this.end, this.why];
      if (this.size) {
        this.given = Date.now();
        // A break is told after what came before it.
        what = this.end === ENDED ? ENDED : MORE;
        bytes = joined(this.chunks, this.size);
        this.chunks = [];
        this.size = 0;
      }
      const back = this.event.tell(this.op, what, bytes);
      if (what !== MORE) return;
      if (back === UNWANTED) return this.cancel();
      if (back === WANTED) this.isWanted = true;
    }
    if (this.isWanted) this.read();
  }

  cancel() {
    this.isWanted = false;
    if (this.end !== MORE) return;
    this.end = ENDED;
    this.reader.cancel().catch(nothing);
  }
}

// One event of the runtime's, or a chore that one has left behind.
class Event {
  constructor(task, request, life) {
    this.task = task;
    this.request = request;
    this.life = life;
    // Should WebAssembly have to be started anew, numbers begin anew too: this one's ears do not
    // hear any more, which is told by an exception, and nobody else's hear for it.
    this.hear = hear;
    this.hearHead = hearHead;
    this.sources = [];
    this.flights = [];
    this.unread = 0;
    this.isFull = false;
    this.rings = () => this.tellItself(RANG);
  }

  tell(op, what, bytes) {
    try {
      return this.hear(this.task, op, what, Date.now(), bytes);
    } catch {
      this.fail();
      return UNWANTED;
    }
  }

  tellHead(op, head) {
    try {
      return this.hearHead(this.task, op, Date.now(), head);
    } catch {
      this.fail();
      return UNWANTED;
    }
  }

  tellItself(what) {
    this.tell(WORK_ITSELF, what, NOTHING);
  }

  // What the runtime is answered with: a promise of it.
  promise() {
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  // A chore is waited for.
  keep() {
    this.life.waitUntil(this.promise());
  }

  done() {
    this.resolve();
  }

  fail() {
    const why = new Error("a bug in the proxy: please report it");
    this.reject?.(why);
    this.writer?.abort(why).catch(nothing);
    this.over?.();
  }

  // From now on it is told when the client leaves. Without the compatibility flag
  // `enable_request_signal` nobody is ever seen to leave.
  asked() {
    const { method, url, headers, signal } = this.request;
    const left = () => this.tellItself(LEFT);
    if (signal.aborted) queueMicrotask(left);
    else signal.addEventListener("abort", left, { once: true });
    return `${method}\n${url}\n${listed(headers)}`;
  }

  // The request's body: a small one in one go, which is cheaper.
  read(op, isSmall) {
    const { request } = this;
    if (isSmall) {
      request.arrayBuffer().then(
        (all) => this.tell(op, ENDED, new Uint8Array(all)),
        (why) => this.tell(op, BROKEN, encoder.encode(String(why))),
      );
    } else if (request.body) {
      this.sources[op] = new Source(this, op, request.body, false);
      this.sources[op].want();
    } else {
      queueMicrotask(() => this.tell(op, ENDED, NOTHING));
    }
  }

  send(op, call, body, isLive) {
    const lines = call.split("\n");
    const [method, url] = lines;
    const flight = (this.flights[op] = new AbortController());
    fetch(url, { method, headers: record(lines, 2), body, signal: flight.signal, redirect: "manual" }).then(
      ({ status, headers, body }) => {
        const source = body && new Source(this, op, body, isLive);
        this.sources[op] = source;
        const back = this.tellHead(op, `${status}\n${body ? 1 : 0}\n${listed(headers)}`);
        if (back === UNWANTED) this.cancel(op);
        else if (back === WANTED) source?.want();
      },
      (why) => this.tell(op, BROKEN, encoder.encode(String(why))),
    );
  }

  // More of a body. The shell is at work, and is told later.
  want(op) {
    queueMicrotask(() => this.sources[op]?.want());
  }

  cancel(op) {
    try {
      this.sources[op]?.cancel();
      this.flights[op]?.abort();
    } catch {
      // The event is long over.
    }
  }

  answer(status, headers, body) {
    this.resolve(new Response(body?.slice(), { status, headers: record(headers.split("\n"), 0) }));
  }

  // An answer that is written as it comes. The runtime's own pipe is the only one that tells when
  // nobody reads any more, also when nothing is being written.
  //
  // The end is waited for, however it comes. When the client leaves, the runtime would else throw
  // away all that belongs to the request without telling anybody: no log line, and a place that
  // never comes free.
  stream(status, headers) {
    const { readable, writable } = new IdentityTransformStream();
    this.writer = writable.getWriter();
    this.writer.closed.catch(() => this.tellItself(LEFT));
    this.life.waitUntil(new Promise((resolve) => (this.over = resolve)));
    this.resolve(new Response(readable, { status, headers: record(headers.split("\n"), 0) }));
  }

  // True when there is enough for now: it is told when there is room again.
  write(bytes) {
    const size = bytes.length;
    this.unread += size;
    this.writer.write(bytes.slice()).then(() => {
      this.unread -= size;
      if (this.isFull && this.unread < LARGE) {
        this.isFull = false;
        this.tellItself(ROOM);
      }
    }, nothing);
    return (this.isFull = this.unread >= LARGE);
  }

  // Ends the answer well, or breaks it off.
  finish(why) {
    const ended = why === undefined ? this.writer.close() : this.writer.abort(new Error(why));
    ended.catch(nothing).then(this.over);
  }

  // Nobody reads any more.
  leave() {
    this.over?.();
  }

  // One timer for the whole event. It is not taken back: it ends with the event.
  setAlarm(milliseconds) {
    setTimeout(this.rings, milliseconds);
  }
}

export const event = (task, request, life) => new Event(task, request, life);

export const log = (line) => console.log(line);

export const fill = (bytes) => crypto.getRandomValues(bytes);

// Enough for one piece.
const LARGE = 65536;

// In milliseconds: lines that come closer together are one piece.
const APART = 1;

// In milliseconds: so much of a body that is read by and by is not kept back for longer.
const PATIENCE = 100;

// Of a line, in bytes.
const PART = 2048;

const LINE_FEED = 10;
