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

#include <sys/socket.h>

#define RECEIVE_BUFFER_BYTES (64 << 10) /* so that a paused stream does not drain its provider */
#define BLOCK_BYTES (16L << 10)

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

	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* It may come when the call that opened it is long gone. */
static int close_socket(void *arg, curl_socket_t fd)
{
	struct provider *provider = arg;

	return pool_socket_close(provider->pool, fd);
}

static int tune_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	int bytes = RECEIVE_BUFFER_BYTES;

	/* Without it, it only buffers more. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return CURL_SOCKOPT_OK;
}

/* ---- the transfer ------------------------------------------------------------- */

/* Called for each request that is about to go out, also when libcurl repeats one. */
static int on_ready(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct provider_call *call = arg;

	/* One that had died unnoticed is no failure; but libcurl would try them all, up to six. */
	SET(call->easy, CURLOPT_FRESH_CONNECT, 1L);
	if (call->cancelled)
		return CURL_PREREQFUNC_ABORT;
	if (!pool_seat(call->provider->pool, &call->seat, local_ip, local_port)) {
		log_error("provider", "[%s] %s: '%s:%d': a connection that the pool does not know",
			call->request_id, call->provider->conf->name, local_ip, local_port);
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

static size_t on_header(char *line, size_t one, size_t len, void *arg)
{
	struct provider_call *call = arg;
	long status = 0;
	char *type = NULL;

	if (call->cancelled)
		return 0;
	call_progress(call);
	if (call->state != CALL_SENDING || len > 2 || (line[0] != '\r' && line[0] != '\n'))
		return len; /* only the end of the head matters; trailers do not */
	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 100 && status < 200)
		return len; /* another head follows */
	curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);
	call_to(call, CALL_ANSWERING);
	answer_begin(call, (int)status, type);
	return call->cancelled ? 0 : len;
}

static size_t on_body(char *bytes, size_t one, size_t len, void *arg)
{
	struct provider_call *call = arg;

	if (call->cancelled)
		return CURL_WRITEFUNC_ERROR;
	call_progress(call);
	switch (answer_bytes(call, bytes, len)) {
	case ANSWER_TAKEN:
		pstat_add(call->provider->index, PSTAT_BYTES_IN, (int64_t)len);
		return len;
	case ANSWER_PAUSE:
		call->paused = true;
		pstat_add(call->provider->index, PSTAT_PAUSES, 1);
		return CURL_WRITEFUNC_PAUSE;
	case ANSWER_STOP:
		break;
	}
	return CURL_WRITEFUNC_ERROR;
}

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

	SET(easy, CURLOPT_NOSIGNAL, 1L);
	SET(easy, CURLOPT_PROXY, "");
	SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(easy, CURLOPT_TCP_NODELAY, 1L);
	SET(easy, CURLOPT_BUFFERSIZE, BLOCK_BYTES);
	SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)conf->connect_timeout_ms);
	/* Seconds; what is less than one lives as long as one. */
	SET(easy, CURLOPT_MAXAGE_CONN, (long)((conf->keepalive_expiry_ms + 999) / 1000));
	/* Else removing a handle waits for its name look-up. */
	SET(easy, CURLOPT_QUICK_EXIT, 1L);
	SET(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(easy, CURLOPT_OPENSOCKETDATA, call);
	SET(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	SET(easy, CURLOPT_CLOSESOCKETDATA, provider);
	SET(easy, CURLOPT_SOCKOPTFUNCTION, tune_socket);
	set_tls(easy, conf);
	if (!conf->keepalive_expiry_ms || !conf->max_keepalive) {
		SET(easy, CURLOPT_FORBID_REUSE, 1L);
		SET(easy, CURLOPT_FRESH_CONNECT, 1L);
	}
}

static void set_request(CURL *easy, struct provider_call *call)
{
	SET(easy, CURLOPT_PRIVATE, call);
	SET(easy, CURLOPT_ERRORBUFFER, call->detail);
	SET(easy, CURLOPT_URL, call->url);
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

void transfer_start(struct provider_call *call)
{
	CURL *easy = curl_easy_init();

	BUG_ON(!easy || call->easy);
	set_connection(easy, call);
	set_request(easy, call);
	call->easy = easy;
	call->detail[0] = 0;
	curl_loop_add(&call->provider->loop, easy);
}

void transfer_stop(struct provider_call *call)
{
	struct provider *provider = call->provider;

	if (call->easy) {
		curl_loop_remove(&provider->loop, call->easy);
		curl_easy_cleanup(call->easy);
		call->easy = NULL;
		call->paused = false;
	}
	pool_leave(provider->pool, &call->seat);
}

void transfer_done(CURL *easy, CURLcode code)
{
	char *call = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
	call_transfer_done((struct provider_call *)(void *)call, code);
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
