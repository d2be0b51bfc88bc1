// The JavaScript side of the border: what the shell asks of the runtime, each with one call, and what
// the runtime delivers. Calls between the two languages, promises, and objects that only carry
// arguments are most of the cost of a small request. Headers cross as one text, names and values
// line by line, since neither can hold a line break.
//
// Promises stay on this side. Each result is delivered to the shell with one call, by the numbers of
// its task and its completion (`executor.rs`).

// Kinds of delivery, and what a delivery returns. `completion.rs` has the same numbers.
const MORE = 0, ENDED = 1, FAILED = 2;
const UNWANTED = 0, WANTED = 2;
// Signals to the task itself, whose completion is 0. `executor.rs` has the same numbers.
const ALARM = 0, CLIENT_LEFT = 1, WRITABLE = 2;
const TASK_ITSELF = 0;

let onBytes, onHead;

// The keys that this isolate has signed with, by their digests.
const signingKeys = new Map();
const MOST_KEYS = 32;
const RS256 = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
// What an error begins with that concerns the key. `edge.rs` has the same text.
const INVALID_KEY = "key: ";

// The callbacks stay for the life of the isolate.
export const installCallbacks = (bytes, head) => {
  onBytes = bytes;
  onHead = head;
};

const NOTHING = new Uint8Array(0);
const TAKEN = new Uint8Array(1);
const nothing = () => {};
const encoder = new TextEncoder();

const headerLines = (headers) => {
  let text = "";
  headers.forEach((value, name) => (text += `${name}\n${value}\n`));
  return text;
};

// The runtime reads an object faster than pairs. Pairs are for a name that occurs twice.
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

const concat = (chunks, size) => {
  if (chunks.length === 1) return chunks[0];
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
};

// A body on its way to the shell, for a completion of a task. It is read when the task wants it.
// Chunks that arrive together are delivered together, since a chunk costs little here and much in the
// shell. A body that is no event stream loses nothing by a short wait for what follows.
//
// The reader is never released: the runtime would then format an error with its stack that no code
// reads.
class Source {
  constructor(event, completion, stream, isLive) {
    this.event = event;
    this.completion = completion;
    this.reader = stream.getReader();
    this.isLive = isLive;
    this.chunks = [];
    this.size = 0;
    this.unfinishedLine = 0;
    this.lastLineAt = 0;
    this.deliveredAt = 0;
    this.end = MORE;
    this.error = NOTHING;
    this.isWanted = false;
    this.isReading = false;
    this.isDelayed = false;
    this.onChunk = (result) => this.take(result);
    this.onError = (error) => this.stop(FAILED, encoder.encode(String(error)));
  }

  want() {
    this.isWanted = true;
    if (this.size || this.end !== MORE) this.flush();
    else this.read();
  }

  read() {
    if (this.isReading || this.end !== MORE) return;
    this.isReading = true;
    this.reader.read().then(this.onChunk, this.onError);
  }

  take({ value, done }) {
    this.isReading = false;
    if (done) return this.stop(ENDED, NOTHING);
    const now = Date.now();
    const isLine = this.isLive && value[value.length - 1] === LINE_FEED;
    // A body that arrives slowly must not look silent to the shell.
    const isDue = isLine ? now - this.lastLineAt > APART : this.isLive && now - this.deliveredAt > MAX_DELAY;
    if (isLine) this.lastLineAt = now;
    this.chunks.push(value);
    this.size += value.length;
    // A line is delivered when it arrives. Lines that arrive close together are delivered when no more
    // are there. The runtime often hands out a line in two parts. The first part is useless by itself,
    // unless its length shows that the line may exceed the limit.
    this.unfinishedLine = isLine ? 0 : this.unfinishedLine + value.length;
    if (isDue || this.size >= LARGE || (this.isLive && this.unfinishedLine >= LONG_LINE)) return this.flush();
    if ((isLine || !this.isLive) && !this.isDelayed) {
      this.isDelayed = true;
      setTimeout(() => {
        this.isDelayed = false;
        if (this.size) this.flush();
      }, this.isLive ? 0 : MAX_DELAY);
    }
    if (this.isWanted) this.read();
  }

  stop(end, error) {
    this.isReading = false;
    this.end = end;
    this.error = error;
    this.flush();
  }

  flush() {
    while (this.isWanted && (this.size || this.end !== MORE)) {
      this.isWanted = false;
      let [kind, bytes] = [this.end, this.error];
      if (this.size) {
        this.deliveredAt = Date.now();
        // An error is delivered after the bytes that came before it.
        kind = this.end === ENDED ? ENDED : MORE;
        bytes = concat(this.chunks, this.size);
        this.chunks = [];
        this.size = 0;
      }
      const demand = this.event.deliver(this.completion, kind, bytes);
      if (kind !== MORE) return;
      if (demand === UNWANTED) return this.cancel();
      if (demand === WANTED) this.isWanted = true;
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

// An event of the runtime, or a background job that an event has started.
class Event {
  constructor(task, request, ctx) {
    this.task = task;
    this.request = request;
    this.ctx = ctx;
    // If WebAssembly has to be started anew, task numbers start anew too. This event keeps the old
    // callbacks, which then throw, so it never reaches a task of the new instance.
    this.onBytes = onBytes;
    this.onHead = onHead;
    this.sources = [];
    this.calls = [];
    this.unread = 0;
    this.isFull = false;
    this.onAlarm = () => this.signal(ALARM);
  }

  deliver(completion, kind, bytes) {
    try {
      return this.onBytes(this.task, completion, kind, Date.now(), bytes);
    } catch {
      this.fail();
      return UNWANTED;
    }
  }

  deliverHead(completion, head) {
    try {
      return this.onHead(this.task, completion, Date.now(), head);
    } catch {
      this.fail();
      return UNWANTED;
    }
  }

  signal(kind) {
    this.deliver(TASK_ITSELF, kind, NOTHING);
  }

  // The promise that the event's handler returns.
  promise() {
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  // The runtime waits for the task after the event is over.
  keepAlive() {
    this.ctx.waitUntil(this.promise());
  }

  done() {
    this.resolve();
  }

  fail() {
    const error = new Error("a bug in the proxy: please report it");
    this.reject?.(error);
    this.writer?.abort(error).catch(nothing);
    this.streamOver?.();
  }

  // From now on the task gets a signal when the client leaves. Without the compatibility flag
  // `enable_request_signal` there would be none.
  requestHead() {
    const { method, url, headers, signal } = this.request;
    const onLeave = () => this.signal(CLIENT_LEFT);
    if (signal.aborted) queueMicrotask(onLeave);
    else signal.addEventListener("abort", onLeave, { once: true });
    return `${method}\n${url}\n${headerLines(headers)}`;
  }

  // Signs with RSASSA-PKCS1-v1_5 and SHA-256. The key is made from PKCS#8 once for each isolate. What
  // waits for it is not kept, since no event may wait for another one's promise.
  async sign(completion, digest, pkcs8, message) {
    // Copies, since the memory of the shell may move.
    [pkcs8, message] = [pkcs8.slice(), message.slice()];
    let key = signingKeys.get(digest);
    try {
      key ??= await crypto.subtle.importKey("pkcs8", pkcs8, RS256, false, ["sign"]);
    } catch (error) {
      return this.deliver(completion, FAILED, encoder.encode(`${INVALID_KEY}${error}`));
    }
    if (signingKeys.size >= MOST_KEYS) signingKeys.clear();
    signingKeys.set(digest, key);
    try {
      const signature = await crypto.subtle.sign(RS256.name, key, message);
      this.deliver(completion, ENDED, new Uint8Array(signature));
    } catch (error) {
      this.deliver(completion, FAILED, encoder.encode(String(error)));
    }
  }

  // Reads the body of the request. A small one is read in one call, which is cheaper.
  readBody(completion, isSmall) {
    const { request } = this;
    if (isSmall) {
      request.arrayBuffer().then(
        (all) => this.deliver(completion, ENDED, new Uint8Array(all)),
        (error) => this.deliver(completion, FAILED, encoder.encode(String(error))),
      );
    } else if (request.body) {
      this.sources[completion] = new Source(this, completion, request.body, false);
      this.sources[completion].want();
    } else {
      queueMicrotask(() => this.deliver(completion, ENDED, NOTHING));
    }
  }

  send(completion, requestHead, body, isLive) {
    const lines = requestHead.split("\n");
    const [method, url] = lines;
    const call = (this.calls[completion] = new AbortController());
    fetch(url, { method, headers: record(lines, 2), body, signal: call.signal, redirect: "manual" }).then(
      ({ status, headers, body }) => {
        const source = body && new Source(this, completion, body, isLive);
        this.sources[completion] = source;
        const demand = this.deliverHead(completion, `${status}\n${body ? 1 : 0}\n${headerLines(headers)}`);
        if (demand === UNWANTED) this.cancel(completion);
        else if (demand === WANTED) source?.want();
      },
      (error) => this.deliver(completion, FAILED, encoder.encode(String(error))),
    );
  }

  sendSmall(completion, requestHead, bytes, isLive) {
    this.send(completion, requestHead, bytes.slice(), isLive);
  }

  // Sends a request whose body is written while it is sent. The answer may come before its end. The stream
  // then stays open, which is no end of the body.
  sendStreamed(completion, upload, requestHead, length, isLive) {
    const { readable, writable } = length < 0 ? new IdentityTransformStream() : new FixedLengthStream(length);
    this.upload = writable.getWriter();
    this.upload.closed.catch(nothing);
    this.send(completion, requestHead, readable, isLive);
  }

  // Neither the shell nor the stream reads ahead: the runtime has taken a chunk when it has sent it.
  writeUpload(upload, bytes) {
    this.upload.write(bytes.slice()).then(
      () => this.deliver(upload, MORE, TAKEN),
      (error) => this.deliver(upload, FAILED, encoder.encode(String(error))),
    );
  }

  endUpload() {
    this.upload.close().catch(nothing);
  }

  // The task is being polled now, so the delivery has to come later.
  readMore(completion) {
    queueMicrotask(() => this.sources[completion]?.want());
  }

  cancel(completion) {
    try {
      this.sources[completion]?.cancel();
      this.calls[completion]?.abort();
    } catch {
      // The event is over already.
    }
  }

  answer(status, headers, body) {
    this.resolve(new Response(body?.slice(), { status, headers: record(headers.split("\n"), 0) }));
  }

  // Answers with a stream. Only the runtime's own pipe signals that the client has left while nothing
  // is being written.
  //
  // The runtime has to wait for the end of the stream. Otherwise it drops everything of the request
  // when the client leaves, without a signal: the log line is lost and a permit is never given back.
  stream(status, headers) {
    const { readable, writable } = new IdentityTransformStream();
    this.writer = writable.getWriter();
    this.writer.closed.catch(() => this.signal(CLIENT_LEFT));
    this.ctx.waitUntil(new Promise((resolve) => (this.streamOver = resolve)));
    this.resolve(new Response(readable, { status, headers: record(headers.split("\n"), 0) }));
  }

  // True when the client has enough for now. A signal follows when it has read some of it.
  write(bytes) {
    const size = bytes.length;
    this.unread += size;
    this.writer.write(bytes.slice()).then(() => {
      this.unread -= size;
      if (this.isFull && this.unread < LARGE) {
        this.isFull = false;
        this.signal(WRITABLE);
      }
    }, nothing);
    return (this.isFull = this.unread >= LARGE);
  }

  // Closes the stream, or aborts it with an error.
  endStream(error) {
    const ended = error === undefined ? this.writer.close() : this.writer.abort(new Error(error));
    ended.catch(nothing).then(this.streamOver);
  }

  // The client has left.
  abandonStream() {
    this.streamOver?.();
  }

  // The timers of a task are never cleared. They end with the event.
  setAlarm(milliseconds) {
    setTimeout(this.onAlarm, milliseconds);
  }
}

export const event = (task, request, ctx) => new Event(task, request, ctx);

export const log = (line) => console.log(line);

export const fillRandom = (bytes) => crypto.getRandomValues(bytes);

// In bytes: this much is delivered or written without waiting for more.
const LARGE = 65536;

// In milliseconds: lines that arrive closer together are one delivery.
const APART = 1;

// In milliseconds: a body is held back no longer than this.
const MAX_DELAY = 100;

// In bytes: a longer part of a line is delivered by itself.
const LONG_LINE = 2048;

const LINE_FEED = 10;
