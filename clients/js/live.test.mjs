// @google/genai, unmodified: the Live API. The proxy copies its WebSocket.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GoogleGenAI, Modality } from '@google/genai';
import { CLIENT_KEY, Relay, arrived, bounded } from './emulated.mjs';

const relay = await Relay.start();
const ai = new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: relay.url } });

test('a Live session is held over a plain WebSocket', bounded, async () => {
  const received = [];
  let wake = () => {};
  const session = await ai.live.connect({
    model: 'gemini-2.5-flash-native-audio-preview',
    config: { responseModalities: [Modality.TEXT] },
    callbacks: {
      onmessage: (message) => {
        received.push(message);
        wake();
      },
      onerror: (error) => received.push({ error }),
      onclose: () => wake(),
    },
  });
  const turnCompleted = async () => {
    while (!received.some((one) => one.serverContent?.turnComplete)) {
      assert.ok(!received.some((one) => one.error), JSON.stringify(received));
      await new Promise((woken) => (wake = woken));
    }
    return received.splice(0);
  };
  for (const word of ['pomegranate', 'plum']) {
    session.sendClientContent({ turns: `Say ${word}`, turnComplete: true });
    assert.match(JSON.stringify(await turnCompleted()), new RegExp(word));
  }
  session.close();
  assert.equal((await arrived('live')).length, 1);
});
