// The unchanged npm client against headgate: prints one JSON line per check, {name, ok, got}.
import OpenAI from 'openai';
import { client } from './client.mjs';

const say = (name, ok, got) => console.log(JSON.stringify({ name, ok: !!ok, got }));
const ask = (content, more = {}) => ({ model: 'sim-1', messages: [{ role: 'user', content }], ...more });
const tools = [{ type: 'function', function: { name: 'get_weather',
	parameters: { type: 'object', properties: { city: { type: 'string' } } } } }];
const want = [...Array(20).keys()].map((n) => `t${n} `).join('');

const plain = await client.chat.completions.create(ask('hello'));
say('create() gives the whole answer', plain.choices[0].message.content === want, plain.choices[0].message.content);
say('with usage', plain.usage.completion_tokens > 0, plain.usage);

let text = '', chunks = 0;
for await (const chunk of await client.chat.completions.create(ask('hello', { stream: true }))) {
	text += chunk.choices[0]?.delta?.content ?? '';
	chunks++;
}
say('create({stream: true}) gives every token', text === want && chunks >= 20, text);

const runner = client.chat.completions.stream(ask('hello', { stream_options: { include_usage: true } }));
say('stream() helper finishes', (await runner.finalContent()) === want, await runner.finalContent());
say('and has the usage that was asked for', (await runner.totalUsage()).completion_tokens > 0, await runner.totalUsage());

const call = await client.chat.completions.create(ask('the weather in Paris?', { tools }));
say('tools: a call comes back', call.choices[0].message.tool_calls?.[0]?.function.name === 'get_weather', call.choices[0].message);
const streamed = await client.chat.completions.stream(ask('the weather in Paris?', { tools })).finalChatCompletion();
const merged = streamed.choices[0].message.tool_calls?.[0]?.function;
say('tools: fragments of a streamed call merge', merged?.name === 'get_weather' && JSON.parse(merged.arguments), merged);

const models = [];
for await (const model of client.models.list()) models.push(model.id);
say('models.list()', models.includes('sim-1'), models);

for (const [name, content, status, code] of [
	['a 400 of the provider', '[[sim:400]]', 400, undefined],
	['a 500 of the provider', '[[sim:500]]', 500, undefined]]) {
	try {
		await client.chat.completions.create(ask(content));
		say(name, false, 'no error');
	} catch (error) {
		say(name + ' is an APIError with its status', error.status === status, { status: error.status, code: error.code, message: error.message });
	}
}
try {
	for await (const chunk of await client.chat.completions.create(ask('[[sim:cut_mid,n=5]]', { stream: true })))
		void chunk;
	say('a cut stream is an error', false, 'ended like a success');
} catch (error) {
	say('a cut stream is an error, never a silent end', error instanceof OpenAI.APIError, { name: error.constructor.name, code: error.code, message: error.message });
}
const abort = new AbortController();
try {
	for await (const chunk of await client.chat.completions.create(ask('[[sim:tokens=1000,rate=100]]', { stream: true }), { signal: abort.signal }))
		abort.abort();
} catch (error) {
	void error;
}
say('abort() ends the request', true);
