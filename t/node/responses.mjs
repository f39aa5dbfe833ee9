// npm's openai, unchanged, against /v1/responses: prints one JSON line per check, {name, ok, got}.
import OpenAI from 'openai';
import { client } from './client.mjs';

const say = (name, ok, got) => console.log(JSON.stringify({ name, ok: !!ok, got }));
const model = 'sim-1';
const want = [...Array(20).keys()].map((n) => `t${n} `).join('');
const tools = [{ type: 'function', name: 'get_weather', strict: true, parameters: { type: 'object',
	properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false } }];

const plain = await client.responses.create({ model, input: 'hello', instructions: 'be brief' });
say('create() gives the whole response', plain.status === 'completed' && plain.output_text === want, plain);
say('with usage', plain.usage.output_tokens === 20 && plain.usage.total_tokens > 20, plain.usage);

const types = [];
let text = '';
for await (const event of await client.responses.create({ model, input: 'hello', stream: true })) {
	types.push(event.type);
	if (event.type === 'response.output_text.delta') text += event.delta;
}
say('create({stream: true}) gives every token', text === want && types.at(-1) === 'response.completed', types);

const streamed = await client.responses.stream({ model, input: 'hello' }).finalResponse();
say('stream() helper puts the response together', streamed.output_text === want, streamed);

// a loop with a tool: call, output, answer
const input = [{ role: 'user', content: 'the weather in Paris?' }];
const first = await client.responses.stream({ model, input, tools }).finalResponse();
const call = first.output.find((item) => item.type === 'function_call');
say('tools: a call comes back', call?.name === 'get_weather' && JSON.parse(call.arguments).city === 'Paris', first.output);
input.push(...first.output, { type: 'function_call_output', call_id: call.call_id, output: 'rain' });
const second = await client.responses.create({ model, input, tools });
say('tools: the loop ends with an answer', second.output_text === want, second.output);

const cut = await client.responses.create({ model, input: 'hello', max_output_tokens: 5 });
say('a cut answer is incomplete', cut.status === 'incomplete' && cut.incomplete_details.reason === 'max_output_tokens', cut);

for (const [name, body, status, param] of [
	['a 400 of the provider', { input: '[[sim:400]]' }, 400, null],
	['a hosted tool', { input: 'x', tools: [{ type: 'web_search' }] }, 400, 'tools[0].type'],
	['an unknown previous response', { input: 'x', previous_response_id: 'resp_0' }, 400, 'previous_response_id']]) {
	try {
		await client.responses.create({ model, ...body });
		say(name, false, 'no error');
	} catch (error) {
		say(`${name} is an APIError`, error.status === status && error.param === param, { status: error.status, param: error.param, message: error.message });
	}
}
const failed = await client.responses.stream({ model, input: '[[sim:cut_mid,n=5]]' }).finalResponse();
say('a cut stream is a failed response', failed.status === 'failed' && failed.error.code === 'server_error', failed);
const abort = new AbortController();
try {
	for await (const event of await client.responses.create({ model, input: '[[sim:tokens=1000,rate=100]]', stream: true }, { signal: abort.signal }))
		if (event.type === 'response.output_text.delta') abort.abort();
} catch (error) {
	void error;
}
say('abort() ends the request', true);
