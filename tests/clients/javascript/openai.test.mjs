// The official JavaScript client, package `openai`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import {
  aborted,
  capital,
  collect,
  model,
  PATIENCE_MS,
  plain,
  untilAborted,
  untilRunning,
  url,
} from './support.mjs';

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, timeout: PATIENCE_MS });
const greedy = { model, messages: capital, temperature: 0, max_tokens: 40 };

const Pet = z.object({
  kind: z.enum(['cat', 'dog', 'parrot']),
  name: z.string().max(12),
  legs: z.number().int().min(0).max(8),
});
const Weather = z.object({ city: z.enum(['Paris', 'Rome']), days: z.number().int().min(1).max(7) });
const Clock = z.object({ zone: z.enum(['UTC', 'CET']) });
const tools = [
  zodFunction({ name: 'get_weather', description: 'The weather of a city', parameters: Weather }),
  zodFunction({ name: 'get_time', parameters: Clock }),
];
const named = { type: 'function', function: { name: 'get_weather' } };
const pets = [{ role: 'user', content: 'Invent a pet.' }];

test('models are listed and retrieved', async () => {
  const models = await collect(client.models.list());
  assert.deepEqual(
    models.map((entry) => entry.id),
    [model],
  );
  assert.equal(models[0].object, 'model');
  assert.equal((await client.models.retrieve(model)).id, model);
});

test('chat says what the plain answer says', async () => {
  const answer = await client.chat.completions.create(greedy);
  const expected = await plain('chat/completions', greedy);
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.choices[0].message.content, expected.choices[0].message.content);
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.equal(answer.usage.completion_tokens, expected.usage.completion_tokens);
  assert.ok(answer._request_id);
});

test('a chat stream joins to the same text and ends with the usage', async () => {
  const expected = await plain('chat/completions', greedy);
  const chunks = await collect(
    await client.chat.completions.create({
      ...greedy,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
  assert.equal(text, expected.choices[0].message.content);
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, expected.usage.completion_tokens);
  assert.equal(last.usage.prompt_tokens, expected.usage.prompt_tokens);
});

test("the client's own stream reader agrees", async () => {
  const stream = client.chat.completions.stream({ ...greedy, stream_options: { include_usage: true } });
  let text = '';
  stream.on('content', (delta) => (text += delta));
  const completion = await stream.finalChatCompletion();
  assert.equal(completion.choices[0].message.content, text);
  assert.equal(completion.choices[0].finish_reason, 'stop');
  assert.equal((await stream.totalUsage()).completion_tokens, completion.usage.completion_tokens);
});

test('completions continue a text, streamed too', async () => {
  const request = { model, prompt: ['One, two, three,', 'Monday, Tuesday,'], temperature: 0, max_tokens: 6 };
  const answer = await client.completions.create(request);
  assert.equal(answer.object, 'text_completion');
  assert.deepEqual(
    answer.choices.map((choice) => choice.index),
    [0, 1],
  );
  const texts = ['', ''];
  for await (const chunk of await client.completions.create({ ...request, stream: true })) {
    for (const choice of chunk.choices) texts[choice.index] += choice.text;
  }
  assert.deepEqual(
    texts,
    answer.choices.map((choice) => choice.text),
  );
});

test('a zod schema holds, at temperature 1 too', async () => {
  for (const temperature of [0, 1]) {
    const completion = await client.chat.completions.parse({
      model,
      messages: pets,
      temperature,
      seed: 5,
      max_tokens: 100,
      response_format: zodResponseFormat(Pet, 'pet'),
    });
    assert.equal(completion.choices[0].finish_reason, 'stop');
    assert.deepEqual(Pet.parse(completion.choices[0].message.parsed), completion.choices[0].message.parsed);
  }
});

test('a structured answer that runs out of tokens is told as such', async () => {
  const cut = client.chat.completions.parse({
    model,
    messages: pets,
    temperature: 0,
    max_tokens: 3,
    response_format: zodResponseFormat(Pet, 'pet'),
  });
  await assert.rejects(cut, OpenAI.LengthFinishReasonError);
});

test('json_object gives an object', async () => {
  const answer = await client.chat.completions.create({
    model,
    messages: pets,
    temperature: 0,
    max_tokens: 300,
    response_format: { type: 'json_object' },
  });
  if (answer.choices[0].finish_reason === 'stop') {
    assert.equal(typeof JSON.parse(answer.choices[0].message.content), 'object');
  } else {
    assert.equal(answer.choices[0].finish_reason, 'length');
    assert.match(answer.choices[0].message.content, /^\s*\{/);
  }
});

test('required and named tools are called with arguments that validate', async () => {
  for (const tool_choice of ['required', named]) {
    const completion = await client.chat.completions.parse({
      model,
      messages: capital,
      temperature: 0,
      max_tokens: 200,
      tools,
      tool_choice,
      parallel_tool_calls: false,
    });
    const [choice] = completion.choices;
    assert.equal(choice.finish_reason, 'tool_calls');
    assert.equal(choice.message.content, null);
    assert.equal(choice.message.tool_calls.length, 1);
    const { id, function: called } = choice.message.tool_calls[0];
    assert.match(id, /^call_/);
    if (tool_choice === named) assert.equal(called.name, 'get_weather');
    (called.name === 'get_weather' ? Weather : Clock).parse(called.parsed_arguments);
  }
});

test('a streamed call joins to the whole one', async () => {
  const request = { model, messages: capital, temperature: 0, max_tokens: 200, tools, tool_choice: named };
  const whole = await client.chat.completions.create(request);
  const events = [];
  const stream = client.chat.completions.stream(request);
  stream.on('tool_calls.function.arguments.delta', (event) => events.push(event));
  const done = new Promise((resolve) => stream.once('tool_calls.function.arguments.done', resolve));
  const message = await stream.finalMessage();
  const expected = whole.choices[0].message.tool_calls[0].function;
  assert.equal(message.tool_calls[0].function.arguments, expected.arguments);
  assert.equal(message.tool_calls[0].function.name, 'get_weather');
  assert.ok(events.length > 1);
  assert.equal((await done).name, 'get_weather');
  assert.equal(events.at(-1).arguments, expected.arguments);
});

test("the client's tool loop sends the results back", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools(
    {
      model,
      messages: capital,
      temperature: 0,
      max_tokens: 60,
      stream: true,
      tool_choice: named,
      tools: [
        zodFunction({
          name: 'get_weather',
          parameters: Weather,
          function: (parameters) => {
            asked.push(Weather.parse(parameters));
            return '21 degrees';
          },
        }),
      ],
    },
    { maxChatCompletions: 2 },
  );
  await runner.done();
  assert.ok(asked.length >= 1);
  assert.ok(runner.messages.some((message) => message.role === 'tool' && message.content === '21 degrees'));
});

test('embeddings have length 1 and the same numbers in base64 and in floats', async () => {
  const input = ['The cat sleeps.', 'Revenue grew.'];
  const packed = await client.embeddings.create({ model, input });
  const floats = await client.embeddings.create({ model, input, encoding_format: 'float' });
  assert.equal(packed.data.length, 2);
  for (const [i, { embedding }] of packed.data.entries()) {
    assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-4);
    assert.equal(embedding.length, floats.data[i].embedding.length);
    embedding.forEach((value, at) => assert.ok(Math.abs(value - floats.data[i].embedding[at]) < 1e-6));
  }
  const short = await client.embeddings.create({ model, input: [[1, 2, 3]], dimensions: 64 });
  assert.equal(short.data[0].embedding.length, 64);
  assert.equal(short.usage.prompt_tokens, 3);
});

test('responses answer as chat does, are stored, and go on', async () => {
  const request = { model, input: capital[0].content, temperature: 0, max_output_tokens: 40 };
  const first = await client.responses.create(request);
  const chat = await plain('chat/completions', greedy);
  assert.equal(first.status, 'completed');
  assert.equal(first.output_text, chat.choices[0].message.content);
  assert.equal(first.usage.input_tokens, chat.usage.prompt_tokens);
  const second = await client.responses.create({
    ...request,
    previous_response_id: first.id,
    input: 'And Italy?',
  });
  const longer = await plain('chat/completions', {
    ...greedy,
    messages: [
      ...capital,
      { role: 'assistant', content: first.output_text },
      { role: 'user', content: 'And Italy?' },
    ],
  });
  assert.equal(second.output_text, longer.choices[0].message.content);
  assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
  const items = await collect(client.responses.inputItems.list(second.id, { order: 'asc' }));
  assert.equal(items.at(-1).content[0].text, 'And Italy?');
  await client.responses.delete(second.id);
  await assert.rejects(client.responses.retrieve(second.id), OpenAI.NotFoundError);
});

test('a response streams', async () => {
  const request = { model, input: capital[0].content, temperature: 0, max_output_tokens: 40 };
  const whole = await client.responses.create(request);
  const stream = client.responses.stream(request);
  let text = '';
  stream.on('response.output_text.delta', (event) => (text += event.delta));
  const final = await stream.finalResponse();
  assert.equal(text, whole.output_text);
  assert.equal(final.output_text, whole.output_text);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
});

test('a response holds a zod schema and calls tools', async () => {
  const pet = await client.responses.parse({
    model,
    input: 'Invent a pet.',
    temperature: 0,
    max_output_tokens: 100,
    text: { format: zodTextFormat(Pet, 'pet') },
  });
  Pet.parse(pet.output_parsed);
  const called = await client.responses.create({
    model,
    input: 'Weather in Rome?',
    temperature: 0,
    max_output_tokens: 100,
    tool_choice: 'required',
    parallel_tool_calls: false,
    tools: [{ type: 'function', name: 'get_weather', parameters: z.toJSONSchema(Weather), strict: true }],
  });
  const call = called.output.find((item) => item.type === 'function_call');
  Weather.parse(JSON.parse(call.arguments));
  const next = await client.responses.create({
    model,
    previous_response_id: called.id,
    temperature: 0,
    max_output_tokens: 16,
    input: [{ type: 'function_call_output', call_id: call.call_id, output: '21 degrees' }],
  });
  assert.ok(['completed', 'incomplete'].includes(next.status));
  assert.ok(next.usage.input_tokens > called.usage.input_tokens);
});

test('an aborted stream leaves the server idle', async () => {
  const before = await aborted();
  const stream = await client.chat.completions.create({
    ...greedy,
    max_tokens: 4000,
    ignore_eos: true,
    stream: true,
  });
  let seen = 0;
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content && ++seen === 3) stream.controller.abort();
  }
  assert.ok(seen >= 3);
  await untilAborted(before);
});

test('a request aborted before its answer leaves the server idle', async () => {
  const before = await aborted();
  const leave = new AbortController();
  const answer = client.chat.completions.create(
    { ...greedy, max_tokens: 4000, ignore_eos: true },
    { signal: leave.signal },
  );
  const refused = assert.rejects(answer, OpenAI.APIUserAbortError);
  await untilRunning();
  leave.abort();
  await refused;
  await untilAborted(before);
});

test('errors arrive as the classes of the client', async () => {
  await assert.rejects(client.chat.completions.create({ ...greedy, temperature: -1 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.status, 400);
    assert.equal(error.param, 'temperature');
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...greedy, model: 'no-such-model' }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    return true;
  });
  await assert.rejects(
    client.chat.completions.create({ ...greedy, model: 'no-such-model', stream: true }),
    OpenAI.NotFoundError,
  );
  await assert.rejects(client.models.retrieve('no-such-model'), OpenAI.NotFoundError);
});

test('parallel requests do not mix', async () => {
  const questions = ['Name a river.', 'Count to five.', 'What is the capital of Italy?'];
  const ask = async (content) => {
    const request = { ...greedy, messages: [{ role: 'user', content }] };
    return (await client.chat.completions.create(request)).choices[0].message.content;
  };
  const together = await Promise.all(questions.map(ask));
  for (const [i, question] of questions.entries()) assert.equal(together[i], await ask(question));
});
