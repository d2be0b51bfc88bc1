// Preloaded into the Gemini CLI (`node --require`): Google's OAuth hosts are fixed in its code, so
// here they lead to the emulator. Nothing else of the CLI is touched.

'use strict';

const http = require('node:http');
const https = require('node:https');

const HOSTS = new Set(['oauth2.googleapis.com', 'www.googleapis.com']);
const emulator = new URL(process.env.EMULATOR_URL);
const request = https.request;

https.request = function (target, options, callback) {
  if (typeof options === 'function') [options, callback] = [{}, options];
  if (typeof target === 'string') target = new URL(target);
  const asked =
    target instanceof URL
      ? { hostname: target.hostname, path: target.pathname + target.search, ...options }
      : { ...target, ...options };
  const host = asked.hostname ?? asked.host;
  if (!HOSTS.has(host)) return request.apply(this, arguments);
  const { agent, port, protocol, servername, host: _, ...rest } = asked;
  return http.request({ ...rest, hostname: emulator.hostname, port: emulator.port }, callback);
};
