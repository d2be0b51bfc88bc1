// Where the agents' programs are. Run with names, it checks that each is there in its pinned version.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { arch, platform } = process;

// npm picks by the system, the processor and the C library, and leaves out what does not fit.
const native = (name, program) =>
  ['', '-musl'].map((libc) => here(`node_modules/${name}-${platform}-${arch}${libc}/${program}`));

const CPU = { arm64: 'aarch64', x64: 'x86_64' }[arch];
const SYSTEM = { darwin: 'apple-darwin', linux: 'unknown-linux-musl' }[platform];

const OPENCODE = 'opencode-linux-x64-baseline';

const candidates = {
  claude: native('@anthropic-ai/claude-code', 'claude'),
  codex: native('@openai/codex', `vendor/${CPU}-${SYSTEM}/bin/codex`),
  // Of opencode, the native program is a dependency of its own, the one that any x64 processor runs:
  // its wrapper names packages that not every registry has, and npm then makes no complete lock file.
  opencode: [here(`node_modules/${OPENCODE}/bin/opencode`)],
  aider: [join(process.env.HOME, 'aider/bin/aider')],
};

const { dependencies, optionalDependencies } = JSON.parse(readFileSync(here('package.json'), 'utf8'));

const versions = {
  claude: dependencies['@anthropic-ai/claude-code'],
  codex: dependencies['@openai/codex'],
  opencode: optionalDependencies[OPENCODE],
  aider: readFileSync(here('requirements.txt'), 'utf8').match(/^aider-chat==(.*)$/m)[1],
};

/** The path of an agent's program. */
export function program(name) {
  const found = candidates[name].find(existsSync);
  if (!found) throw new Error(`${name} is not installed: none of ${candidates[name].join(', ')}`);
  return found;
}

function check(name) {
  const { error, stdout, stderr } = spawnSync(program(name), ['--version'], { encoding: 'utf8' });
  const said = (stdout ?? '').trim();
  if (error || !said.split(/\s+/).includes(versions[name])) {
    throw new Error(`${name} ${versions[name]} says: ${error ?? `${said} ${stderr}`}`);
  }
  console.log(`    ${program(name)}: ${said}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.argv.slice(2).forEach(check);
