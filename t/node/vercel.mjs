// Vercel's ai with @ai-sdk/openai, unchanged, against /v1/responses: prints one JSON line per check, {name, ok, got}.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const say = (name, ok, got) => console.log(JSON.stringify({ name, ok: !!ok, got }));
const ask = { model: createOpenAI({ baseURL: process.argv[2], apiKey: 'unused' }).responses('sim-1'), maxRetries: 0, onError() {} };
const want = [...Array(20).keys()].map((n) => `t${n} `).join('');
const tools = { get_weather: tool({ description: 'w', inputSchema: z.object({ city: z.string() }), execute: async () => ({ rain: true }) }) };
const loop = { ...ask, prompt: 'the weather in Paris', tools, stopWhen: stepCountIs(3), providerOptions: { openai: { store: false } } };

const plain = await generateText({ ...ask, prompt: 'hello', system: 'be kind' });
say('generateText', plain.text === want && plain.usage.outputTokens === 20, plain.text);
const stream = streamText({ ...ask, prompt: 'hello' });
let text = '';
for await (const part of stream.textStream) text += part;
say('streamText', text === want && (await stream.finishReason) === 'stop', text);
const steps = await generateText(loop);
say('a loop with a tool', steps.text === want && steps.steps.length === 2, steps.text);
text = '';
for await (const part of streamText(loop).textStream) text += part;
say('the same streamed', text === want, text);
const parts = [];
for await (const part of streamText({ ...ask, prompt: '[[sim:cut_mid,n=3]]' }).fullStream) parts.push(part.type);
say('a cut stream is an error', parts.includes('error'), parts);
