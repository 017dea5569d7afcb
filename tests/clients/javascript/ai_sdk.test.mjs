// The Vercel AI SDK, package `ai`, through each provider that speaks to such a server: `@ai-sdk/openai` for
// chat and for responses, `@ai-sdk/openai-compatible` for chat.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError,
  embed,
  embedMany,
  generateObject,
  generateText,
  Output,
  stepCountIs,
  streamObject,
  streamText,
  tool,
} from 'ai';
import { z } from 'zod';
import { aborted, capital, collect, model, plain, untilAborted, url } from './support.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: 'none' });
const compatible = createOpenAICompatible({
  name: 'sluice',
  baseURL: `${url}/v1`,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const models = {
  '@ai-sdk/openai, chat': openai.chat(model),
  '@ai-sdk/openai, responses': openai.responses(model),
  '@ai-sdk/openai-compatible': compatible(model),
};

const Pet = z.object({
  kind: z.enum(['cat', 'dog', 'parrot']),
  name: z.string().max(12),
  legs: z.number().int().min(0).max(8),
});
const Weather = z.object({ city: z.enum(['Paris', 'Rome']), days: z.number().int().min(1).max(7) });
const weather = tool({
  description: 'The weather of a city',
  inputSchema: Weather,
  execute: async ({ city }) => ({ city, degrees: 21 }),
});
// Where it may, a model that knows no tools calls on and on.
const oneCall = { openai: { parallelToolCalls: false }, sluice: { parallel_tool_calls: false } };
const named = { type: 'tool', toolName: 'weather' };

for (const [name, languageModel] of Object.entries(models)) {
  describe(name, () => {
    const request = {
      model: languageModel,
      messages: capital,
      temperature: 0,
      maxOutputTokens: 40,
      maxRetries: 0,
    };

    test('text and usage are those of the plain answer, streamed too', async () => {
      const expected = await plain('chat/completions', { messages: capital, temperature: 0, max_tokens: 40 });
      const whole = await generateText(request);
      const stream = streamText(request);
      const text = (await collect(stream.textStream)).join('');
      for (const [said, answer] of [
        [whole.text, whole],
        [text, stream],
      ]) {
        assert.equal(said, expected.choices[0].message.content);
        assert.equal(await answer.finishReason, 'stop');
        const usage = await answer.usage;
        assert.equal(usage.inputTokens, expected.usage.prompt_tokens);
        assert.equal(usage.outputTokens, expected.usage.completion_tokens);
        assert.ok(usage.inputTokenDetails.cacheReadTokens >= 0);
      }
    });

    test('a cut answer says length', async () => {
      assert.equal((await generateText({ ...request, maxOutputTokens: 3 })).finishReason, 'length');
    });

    test('objects hold their schema, whole and streamed', async () => {
      const pet = { ...request, messages: undefined, prompt: 'Invent a pet.', maxOutputTokens: 200 };
      const { object } = await generateObject({ ...pet, schema: Pet });
      assert.deepEqual(Pet.parse(object), object);
      const stream = streamObject({ ...pet, schema: Pet });
      assert.ok((await collect(stream.partialObjectStream)).length > 1);
      assert.deepEqual(await stream.object, object);
      const text = await generateText({ ...pet, output: Output.object({ schema: Pet }) });
      assert.deepEqual(text.output, object);
      const choice = await generateObject({ ...pet, output: 'enum', enum: ['cat', 'dog'] });
      assert.ok(['cat', 'dog'].includes(choice.object));
    });

    test('required and named tools are called, run, and answered', async () => {
      for (const toolChoice of ['required', named]) {
        const answer = await generateText({
          ...request,
          tools: { weather },
          toolChoice,
          maxOutputTokens: 300,
          providerOptions: oneCall,
          stopWhen: stepCountIs(2),
          prepareStep: ({ stepNumber }) => (stepNumber ? { toolChoice: 'none' } : {}),
        });
        assert.equal(answer.steps.length, 2);
        const [first, second] = answer.steps;
        assert.equal(first.finishReason, 'tool-calls');
        assert.equal(first.text, '');
        assert.deepEqual(
          first.toolCalls.map((call) => call.toolName),
          ['weather'],
        );
        Weather.parse(first.toolCalls[0].input);
        assert.equal(first.toolResults[0].output.degrees, 21);
        assert.notEqual(second.text, '');
        assert.equal(second.toolCalls.length, 0);
        assert.ok(second.usage.inputTokens > first.usage.inputTokens);
      }
    });

    test('a streamed call joins to the whole one', async () => {
      const call = { ...request, tools: { weather }, toolChoice: named, maxOutputTokens: 300 };
      const whole = await generateText(call);
      const parts = await collect(streamText(call).fullStream);
      const calls = parts.filter((part) => part.type === 'tool-call');
      assert.deepEqual(
        calls.map((part) => part.input),
        whole.toolCalls.map((part) => part.input),
      );
      const written = parts
        .filter((part) => part.type === 'tool-input-delta')
        .map((part) => part.delta)
        .join('');
      assert.deepEqual(JSON.parse(written), calls[0].input);
      assert.equal(parts.findLast((part) => part.type === 'finish').finishReason, 'tool-calls');
    });

    test('an aborted stream leaves the server idle', async () => {
      const before = await aborted();
      const leave = new AbortController();
      const stream = streamText({
        ...request,
        abortSignal: leave.signal,
        maxOutputTokens: 4000,
        messages: [{ role: 'user', content: 'Count from one to ten thousand, every number.' }],
        onError: () => {},
      });
      let seen = 0;
      for await (const part of stream.fullStream) {
        if (part.type === 'text-delta' && ++seen === 3) leave.abort();
        if (part.type === 'abort') break;
      }
      assert.ok(seen >= 3);
      await untilAborted(before);
    });

    test('errors carry the status and the message', async () => {
      await assert.rejects(generateText({ ...request, temperature: -1 }), (error) => {
        assert.ok(APICallError.isInstance(error), error);
        assert.equal(error.statusCode, 400);
        assert.equal(error.isRetryable, false);
        assert.match(error.message, /temperature/);
        return true;
      });
    });

    test('parallel requests do not mix', async () => {
      const ask = async (content) =>
        (await generateText({ ...request, messages: [{ role: 'user', content }] })).text;
      const questions = ['Name a river.', 'Count to five.'];
      const together = await Promise.all(questions.map(ask));
      for (const [i, question] of questions.entries()) assert.equal(together[i], await ask(question));
    });
  });
}

test('a model that is not served is a 404', async () => {
  for (const other of [openai.chat('other'), openai.responses('other'), compatible('other')]) {
    await assert.rejects(generateText({ model: other, prompt: 'Hi', maxRetries: 0 }), (error) => {
      assert.equal(error.statusCode, 404);
      return true;
    });
  }
});

test('completion models continue a text', async () => {
  const expected = await plain('completions', {
    prompt: 'The capital of France is',
    temperature: 0,
    max_tokens: 5,
  });
  for (const languageModel of [openai.completion(model), compatible.completionModel(model)]) {
    // The SDK writes a prompt as a dialogue for such models; the text of it is its own affair.
    const answer = await generateText({
      model: languageModel,
      prompt: 'The capital of France is',
      temperature: 0,
      maxOutputTokens: 5,
    });
    assert.equal(answer.finishReason, 'length');
    assert.equal(answer.usage.outputTokens, expected.usage.completion_tokens);
  }
});

test('embeddings', async () => {
  const values = ['The cat sleeps.', 'Revenue grew.'];
  const expected = await plain('embeddings', { input: values });
  for (const embedder of [openai.embedding(model), compatible.embeddingModel(model)]) {
    const many = await embedMany({ model: embedder, values });
    assert.deepEqual(
      many.embeddings,
      expected.data.map((item) => item.embedding),
    );
    assert.equal(many.usage.tokens, expected.usage.prompt_tokens);
    const one = await embed({ model: embedder, value: values[1] });
    assert.deepEqual(one.embedding, many.embeddings[1]);
  }
});
