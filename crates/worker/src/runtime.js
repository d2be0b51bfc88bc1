// What the shell asks of the runtime, each with one call: calls between the two languages, and
// objects that only carry arguments, are most of what a small request costs. Headers go over as
// one text, names and values line by line: neither can hold a line break.

const pairs = (text) => {
  const lines = text.split("\n");
  return Array.from({ length: lines.length >> 1 }, (_, at) => [lines[2 * at], lines[2 * at + 1]]);
};

export const listed = (headers) => {
  let text = "";
  for (const [name, value] of headers) text += `${name}\n${value}\n`;
  return text;
};

export const send = (url, method, headers, body, signal) =>
  fetch(url, { method, headers: pairs(headers), body, signal, redirect: "manual" });

export const whole = async (source) => new Uint8Array(await source.arrayBuffer());

export const answer = (status, headers, body) => new Response(body, { status, headers: pairs(headers) });

// What is written goes to whoever reads, as it comes. `lost` is fulfilled when nobody reads any more:
// the runtime's own pipe is the only one that tells of it, also when nothing is being written.
export const pipe = () => {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  const nothing = () => {};
  return {
    readable,
    lost: writer.closed.then(nothing, nothing),
    write: (chunk) => writer.write(chunk),
    close: () => writer.close().catch(nothing),
    abort: (why) => writer.abort(new Error(why)).catch(nothing),
  };
};

export const left = (signal) =>
  new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));

export const setAlarm = (rings, milliseconds) => setTimeout(rings, milliseconds);

export const takeBackAlarm = (id) => clearTimeout(id);

export const random = () => crypto.getRandomValues(new BigUint64Array(1))[0];
