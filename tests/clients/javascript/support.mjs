// What every suite here needs: where the server is, plain requests to it, and its metrics.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

export const url = process.env.SLUICE_URL;
export const model = process.env.SLUICE_MODEL;
assert.ok(url && model, 'set SLUICE_URL (http://localhost:8000, without /v1) and SLUICE_MODEL');

// Waits are bounded so that a hang ends a test; this is no claim about speed.
export const PATIENCE_MS = 120_000;

export const capital = [
  { role: 'user', content: 'What is the capital of France? Answer in one short sentence.' },
];

/** The answer to a request written by hand: what each client's answer is compared to. */
export async function plain(path, body) {
  const response = await fetch(`${url}/v1/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, ...body }),
  });
  assert.equal(response.status, 200);
  return response.json();
}

/** The sum of the series of that name whose labels contain `labels`. */
export async function metric(name, labels = '') {
  const text = await (await fetch(`${url}/metrics`)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

export const aborted = () => metric('vllm:request_success_total', 'finished_reason="abort"');

/** Waits until a request is being answered. */
export async function untilRunning() {
  const end = Date.now() + PATIENCE_MS;
  while ((await metric('vllm:num_requests_running')) === 0) {
    assert.ok(Date.now() < end, 'no request has come to run');
    await sleep(10);
  }
}

/** Waits until one more request than `before` has been given up and nothing runs or waits. */
export async function untilAborted(before) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const now = [
      await aborted(),
      await metric('vllm:num_requests_running'),
      await metric('vllm:num_requests_waiting'),
      await metric('vllm:kv_cache_usage_perc'),
    ];
    if (now[0] === before + 1 && now.slice(1).every((value) => value === 0)) return;
    assert.ok(Date.now() < end, `aborted (was ${before}), running, waiting, kv: ${now}`);
    await sleep(20);
  }
}

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
