#!/usr/bin/env node
// Starts the program of the package for this platform, which npm has installed beside this one. Nothing
// is downloaded here, and no install script runs.
"use strict";

const { spawn } = require("node:child_process");

/** The packages by what `process` says of the platform. Each holds one program. */
const PACKAGES = {
  "darwin arm64": "@code-assist-proxy/darwin-arm64",
  "darwin x64": "@code-assist-proxy/darwin-x64",
  "linux arm64": "@code-assist-proxy/linux-arm64",
  "linux x64": "@code-assist-proxy/linux-x64",
  "win32 x64": "@code-assist-proxy/win32-x64",
};

const SOURCE = "https://github.com/code-assist-proxy/code-assist-proxy";

/** The path of the program; throws an Error that says what to do if there is none. */
function program() {
  const platform = `${process.platform} ${process.arch}`;
  const name = PACKAGES[platform];
  if (!name) {
    throw new Error(`there is no package of code-assist-proxy for ${platform}: build it from source, ${SOURCE}`);
  }
  const file = process.platform === "win32" ? "code-assist-proxy.exe" : "code-assist-proxy";
  try {
    return require.resolve(`${name}/bin/${file}`);
  } catch {
    throw new Error(`the package ${name} is missing: install code-assist-proxy again, with optional dependencies (npm leaves them out with --omit=optional), on the platform that it will run on`);
  }
}

function main() {
  let path;
  try {
    path = program();
  } catch (error) {
    process.stderr.write(`error: ${error.message}\n`);
    process.exit(1);
  }
  const child = spawn(path, process.argv.slice(2), { stdio: "inherit" });
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) {
    process.on(signal, () => {
      // A terminal sends SIGINT to the program too, and a second one would end it at once.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  // When npx is ended, it ends the shell that it has started this process in, and not this process.
  if (process.env.npm_execpath) {
    const parent = process.ppid;
    const watch = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(watch);
      child.kill("SIGTERM");
    }, 500);
  }
  child.on("error", (error) => {
    process.stderr.write(`error: ${path} cannot be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    if (!signal) process.exit(code);
    // This process has to end as the program did.
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

main();
