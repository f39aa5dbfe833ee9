/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transfer.c - see transfer.h. The callbacks below are called from inside libcurl: they note,
 * and stop or pause the transfer; what ends is ended when libcurl has returned.
 */
#include "base/base.h"
#include "worker/provider/transfer.h"

#include "base/bug.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/provider/room.h"
#include "worker/provider/wire.h"

#include <openssl/ssl.h>
#include <sys/socket.h>

#define RECEIVE_BUFFER_BYTES (64 << 10) /* so that a paused stream does not drain its provider */
#define BLOCK_BYTES (16L << 10)
/* Kept of a stream of HTTP/2 whose asker has no room; see keep_ahead(). */
#define AHEAD_MAX_BYTES (4u << 20)

/* An option that this libcurl has and takes. */
#define SET(easy, option, value) BUG_ON(curl_easy_setopt(easy, option, value) != CURLE_OK)

struct curl_slist *transfer_headers(const char *key)
{
	static const char *const fixed[] = { "Content-Type: application/json", "Expect:",
		"User-Agent: headgate/" HEADGATE_VERSION };
	struct curl_slist *list = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		BUG_ON(!(list = curl_slist_append(list, fixed[i])));
	if (*key) {
		char *line = xasprintf("Authorization: Bearer %s", key);

		BUG_ON(!(list = curl_slist_append(list, line)));
		explicit_bzero(line, strlen(line));
		free(line);
	}
	return list;
}

/* ---- sockets ------------------------------------------------------------------ */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct provider_call *call = arg;
	int fd = pool_socket_open(call->provider->pool, &call->seat, address->family,
		address->socktype, address->protocol);

	/* Without another socket of its own that it tries, it is lost. */
	if (fd < 0 && call->seat.state != POOL_USER_DIALING)
		call->stranded = true;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* It may come when the call that opened it is long gone. */
static int close_socket(void *arg, curl_socket_t fd)
{
	struct provider *provider = arg;

	if (fd == provider->dialed_fd)
		return 0; /* the wire has it */
	return pool_socket_close(provider->pool, fd);
}

static int tune_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	int bytes = RECEIVE_BUFFER_BYTES;

	/* Without it, it only buffers more. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return CURL_SOCKOPT_OK;
}

/* ---- the head ------------------------------------------------------------------ */

/* Was HTTP/2 agreed upon for the connection that the request is about to go out on? */
static bool speaks_http2(CURL *easy)
{
	struct curl_tlssessioninfo *tls = NULL;
	const unsigned char *protocol = NULL;
	unsigned len = 0;

	if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls) == CURLE_OK && tls->internals)
		SSL_get0_alpn_selected(tls->internals, &protocol, &len);
	return len == 2 && !memcmp(protocol, "h2", 2);
}

/* Called for each request that is about to go out, also when libcurl repeats one. */
static int on_ready(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct provider_call *call = arg;
	struct provider *provider = call->provider;

	/* One that had died unnoticed is no failure; but libcurl would try them all, up to six. */
	SET(call->easy, CURLOPT_FRESH_CONNECT, 1L);
	if (call->cancelled)
		return CURL_PREREQFUNC_ABORT;
	call->shared = provider->most_streams > 1 && speaks_http2(call->easy);
	call->stranded = !pool_seat(provider->pool, &call->seat, local_ip, local_port, call->shared);
	if (call->stranded) {
		log_line(provider->most_streams > 1 ? LOG_DEBUG : LOG_ERROR, "provider",
			"[%s] %s: '%s:%d': a connection that the pool does not know, or not as free",
			call->request_id, provider->conf->name, local_ip, local_port);
		return CURL_PREREQFUNC_ABORT;
	}
	return appoint_keep(call) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static int on_progress(
	void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
	struct provider_call *call = arg;

	if ((uint64_t)up > call->uploaded) {
		call->uploaded = (uint64_t)up;
		call_progress(call);
	}
	return call->cancelled;
}

/* No more of it: a connection that nobody else uses goes with it, so that the provider hears of it. */
static size_t refuse(struct provider_call *call)
{
	SET(call->easy, CURLOPT_FORBID_REUSE, 1L);
	return CURL_WRITEFUNC_ERROR;
}

static size_t on_header(char *line, size_t one, size_t len, void *arg)
{
	struct provider_call *call = arg;
	long status = 0;
	char *type = NULL;

	if (call->cancelled)
		return refuse(call);
	call_progress(call);
	if (call->state != CALL_SENDING || len > 2 || (line[0] != '\r' && line[0] != '\n'))
		return len; /* only the end of the head matters; trailers do not */
	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 100 && status < 200)
		return len; /* another head follows */
	curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);
	call_to(call, CALL_ANSWERING);
	answer_begin(call, (int)status, type);
	return call->cancelled ? refuse(call) : len;
}

/* ---- the body ------------------------------------------------------------------ */

static enum answer_step pass(struct provider_call *call, const char *bytes, size_t len)
{
	enum answer_step step = answer_bytes(call, bytes, len);

	if (step == ANSWER_TAKEN) {
		pstat_add(call->provider->index, PSTAT_BYTES_IN, (int64_t)len);
	} else if (step == ANSWER_PAUSE) {
		pstat_add(call->provider->index, PSTAT_PAUSES, 1);
		call->paused = true;
	}
	return step;
}

/*
 * HTTP/2's flow control could hold this stream back alone, but libcurl grants each one a window of 32
 * MiB and cannot take that back; what comes after a pause piles up inside of it, and is lost to it
 * when the transfer is removed. So it is kept here, up to a bound, and nobody else's stream waits.
 */
static bool keep_ahead(struct provider_call *call, const char *bytes, size_t len)
{
	if (call->ahead.len - call->ahead_at + len > AHEAD_MAX_BYTES) {
		call->fell_behind = true;
		return false;
	}
	if (call->ahead_at > call->ahead.len / 2) {
		buf_drop(&call->ahead, call->ahead_at);
		call->ahead_at = 0;
	}
	buf_add(&call->ahead, bytes, len);
	return true;
}

enum answer_step transfer_pass(struct provider_call *call, const char *bytes, size_t len)
{
	enum answer_step step = call->ahead.len ? ANSWER_PAUSE : pass(call, bytes, len);

	return step == ANSWER_PAUSE && !keep_ahead(call, bytes, len) ? ANSWER_STOP : step;
}

static size_t on_body(char *bytes, size_t one, size_t len, void *arg)
{
	struct provider_call *call = arg;
	enum answer_step step;

	if (call->cancelled)
		return refuse(call);
	call_progress(call);
	step = call->shared ? transfer_pass(call, bytes, len) : pass(call, bytes, len);
	if (step == ANSWER_STOP)
		return refuse(call);
	return step == ANSWER_PAUSE && !call->shared ? CURL_WRITEFUNC_PAUSE : len;
}

/*
 * What was kept goes on as far as there is room; then what was said of the transfer's end. True: all of it
 * went on, and the transfer goes on, too.
 */
static bool pass_ahead(struct provider_call *call)
{
	while (call->ahead_at < call->ahead.len) {
		size_t left = call->ahead.len - call->ahead_at;
		size_t len = left < BLOCK_BYTES ? left : BLOCK_BYTES;

		switch (pass(call, call->ahead.data + call->ahead_at, len)) {
		case ANSWER_TAKEN:
			call->ahead_at += len;
			break;
		case ANSWER_PAUSE:
			return false;
		case ANSWER_STOP:
			call_transfer_done(call, CURLE_WRITE_ERROR);
			return false;
		}
		if (call->cancelled)
			return false;
	}
	buf_release(&call->ahead);
	call->ahead_at = 0;
	if (!call->over)
		return true;
	call_transfer_done(call, call->over_code);
	return false;
}

void transfer_resume(struct provider_call *call)
{
	CURLcode code;

	if (call->ahead.len) {
		if (pass_ahead(call) && call->wire)
			wire_read_on(call);
		return;
	}
	code = curl_loop_resume(&call->provider->loop, call->easy);
	if (code != CURLE_OK)
		call_transfer_done(call, code);
}

/* ---- the transfer ---------------------------------------------------------------- */

/* The system's file of authorities, unlike its directory, is read once and kept by libcurl. */
static void set_tls(CURL *easy, const struct conf_provider *conf)
{
	SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	SET(easy, CURLOPT_CAPATH, NULL);
	if (conf->ca_pem) {
		struct curl_blob pem = { conf->ca_pem, strlen(conf->ca_pem), CURL_BLOB_NOCOPY };

		SET(easy, CURLOPT_CAINFO_BLOB, &pem);
	}
}

static void set_connection(CURL *easy, struct provider_call *call)
{
	struct provider *provider = call->provider;
	const struct conf_provider *conf = provider->conf;

	SET(easy, CURLOPT_PRIVATE, call);
	SET(easy, CURLOPT_ERRORBUFFER, call->detail);
	SET(easy, CURLOPT_URL, call->url ? call->url : conf->base_url);
	SET(easy, CURLOPT_NOSIGNAL, 1L);
	SET(easy, CURLOPT_PROXY, "");
	SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	SET(easy, CURLOPT_HTTP_VERSION,
		(long)(provider->most_streams > 1 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	SET(easy, CURLOPT_TCP_NODELAY, 1L);
	SET(easy, CURLOPT_BUFFERSIZE, BLOCK_BYTES);
	SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)conf->connect_timeout_ms);
	/* Else removing a handle waits for its name look-up. */
	SET(easy, CURLOPT_QUICK_EXIT, 1L);
	SET(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(easy, CURLOPT_OPENSOCKETDATA, call);
	SET(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	SET(easy, CURLOPT_CLOSESOCKETDATA, provider);
	SET(easy, CURLOPT_SOCKOPTFUNCTION, tune_socket);
	set_tls(easy, conf);
}

/* Which connections of libcurl's it may take, and leave behind. */
static void set_reuse(CURL *easy, const struct provider_call *call)
{
	const struct conf_provider *conf = call->provider->conf;

	/* Seconds; what is less than one lives as long as one. */
	SET(easy, CURLOPT_MAXAGE_CONN, (long)((conf->keepalive_expiry_ms + 999) / 1000));
	if (!conf->keepalive_expiry_ms || !conf->max_keepalive) {
		SET(easy, CURLOPT_FORBID_REUSE, 1L);
		SET(easy, CURLOPT_FRESH_CONNECT, (long)(call->provider->most_streams == 1));
	}
	if (pool_must_dial(&call->seat))
		SET(easy, CURLOPT_FRESH_CONNECT, 1L);
}

static void set_request(CURL *easy, struct provider_call *call)
{
	set_reuse(easy, call);
	SET(easy, CURLOPT_HTTPHEADER, call->headers);
	if (call->body) {
		SET(easy, CURLOPT_POST, 1L);
		SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
		SET(easy, CURLOPT_POSTFIELDS, call->body);
	}
	SET(easy, CURLOPT_PREREQFUNCTION, on_ready);
	SET(easy, CURLOPT_PREREQDATA, call);
	SET(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(easy, CURLOPT_XFERINFODATA, call);
	SET(easy, CURLOPT_NOPROGRESS, 0L);
	SET(easy, CURLOPT_HEADERFUNCTION, on_header);
	SET(easy, CURLOPT_HEADERDATA, call);
	SET(easy, CURLOPT_WRITEFUNCTION, on_body);
	SET(easy, CURLOPT_WRITEDATA, call);
}

/* A handle that connects; what it does then is the caller's to say, before it is added. */
static CURL *open_handle(struct provider_call *call)
{
	CURL *easy = curl_easy_init();

	BUG_ON(!easy || call->easy);
	set_connection(easy, call);
	call->easy = easy;
	call->detail[0] = 0;
	call->stranded = false;
	return easy;
}

void transfer_dial(struct provider_call *call)
{
	SET(open_handle(call), CURLOPT_CONNECT_ONLY, 1L);
	curl_loop_add(&call->provider->loop, call->easy);
}

void transfer_start(struct provider_call *call)
{
	if (call->provider->wires) {
		wire_start(call);
		return;
	}
	set_request(open_handle(call), call);
	curl_loop_add(&call->provider->loop, call->easy);
}

bool transfer_is_on(const struct provider_call *call)
{
	return call->easy || call->wire;
}

bool transfer_header(const struct provider_call *call, const char *name, char *to, size_t size)
{
	struct curl_header *header;
	const char *value = NULL;
	size_t len = 0;

	if (call->provider->wires)
		value = wire_header(call, name, &len);
	else if (call->easy && curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
		len = strlen(value = header->value);
	if (value)
		snprintf(to, size, "%.*s", (int)(len < size ? len : size), value);
	return value != NULL;
}

/*
 * A reset of a stream waits inside libcurl until something else is sent on its connection: make the
 * first of those who share it do so.
 */
static void send_reset(struct provider_call *call)
{
	struct pool_user *user = NULL;

	while ((user = pool_companion(&call->seat, user))) {
		struct provider_call *other = container_of(user, struct provider_call, seat);

		if (other->easy && !other->over &&
			curl_loop_flush(&call->provider->loop, other->easy))
			break;
	}
}

/* Did that end the connection, too? libcurl may not have noticed that it did. */
static bool is_of_connection(CURLcode code)
{
	return code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_PARTIAL_FILE ||
		code == CURLE_HTTP2;
}

void transfer_stop(struct provider_call *call)
{
	struct provider *provider = call->provider;

	if (call->easy) {
		if (!call->over)
			SET(call->easy, CURLOPT_FORBID_REUSE, 1L); /* as in refuse() */
		curl_loop_remove(&provider->loop, call->easy);
		curl_easy_cleanup(call->easy);
		call->easy = NULL;
		if (call->shared && !(call->over && call->over_code == CURLE_OK))
			send_reset(call);
		if (call->shared && call->over && is_of_connection(call->over_code))
			pool_doom(provider->pool, &call->seat);
	}
	wire_stop(call);
	buf_release(&call->ahead);
	buf_release(&call->head);
	call->ahead_at = 0;
	call->paused = call->over = call->shared = false;
	pool_leave(provider->pool, &call->seat);
}

/* The connection stands: take it out of libcurl, which would close it. */
static void take_connection(struct provider_call *call)
{
	struct provider *provider = call->provider;
	curl_socket_t fd = -1;

	curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd);
	provider->dialed_fd = fd;
	curl_loop_remove(&provider->loop, call->easy);
	provider->dialed_fd = -1;
	curl_easy_cleanup(call->easy);
	call->easy = NULL;
	wire_connected(call, fd);
}

void transfer_done(CURL *easy, CURLcode code)
{
	char *private = NULL;
	struct provider_call *call;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
	call = (struct provider_call *)(void *)private;
	if (call->provider->wires && code == CURLE_OK && !call->cancelled) {
		take_connection(call);
		return;
	}
	call->over = true;
	call->over_code = code;
	if (!call->ahead.len || call->cancelled || call->fell_behind)
		call_transfer_done(call, code);
}

enum ending transfer_ending(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return END_COMPLETE;
#define X(curl, ending)                                                                         \
	case CURLE_##curl:                                                                      \
		return END_##ending;
#include "worker/provider/curl_endings.def"
#undef X
	default:
		return END_INTERNAL;
	}
}
