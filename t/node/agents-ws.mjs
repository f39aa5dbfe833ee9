// @openai/agents, unchanged, on a WebSocket at /v1/responses (Node 22 or newer): one JSON line per check, {name, ok, got}.
import { Agent, setTracingDisabled, tool } from '@openai/agents';
import { withResponsesWebSocketSession } from '@openai/agents-openai';
import OpenAI from 'openai';
import { z } from 'zod';

const say = (name, ok, got) => console.log(JSON.stringify({ name, ok: !!ok, got }));
setTracingDisabled(true);
const want = [...Array(20).keys()].map((n) => `t${n} `).join('');
const cities = [];
const weather = tool({ name: 'get_weather', description: 'w', parameters: z.object({ city: z.string() }),
	execute: async ({ city }) => { cities.push(city); return 'rain'; } });
const agent = new Agent({ name: 'a', instructions: 'be kind', model: 'sim-1', tools: [weather] });
const openAIClient = new OpenAI({ baseURL: process.argv[2], apiKey: 'unused', maxRetries: 0 });
await withResponsesWebSocketSession(async ({ run }) => {
	const plain = await run(agent, 'hello');
	say('a run', plain.finalOutput === want, plain.finalOutput);
	const called = await run(agent, 'the weather in Paris?');
	say('a run that calls a tool', called.finalOutput === want && cities.join() === 'Paris', called.finalOutput);
	const next = await run(agent, 'and now?', { previousResponseId: called.lastResponseId });
	say('a run that continues the last response', next.finalOutput === want, next.finalOutput);
	const streamed = await run(agent, 'the weather in Paris?', { stream: true });
	for await (const event of streamed) void event;
	await streamed.completed;
	say('a streamed run', streamed.finalOutput === want && cities.length === 2, streamed.finalOutput);
}, { providerOptions: { openAIClient, useResponsesWebSocket: true } });
