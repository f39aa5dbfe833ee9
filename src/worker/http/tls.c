/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.c - TLS between a client's socket and all that is above it (OpenSSL).
 *
 * socket.c and out.c carry what is on the wire, with TLS as without. Here is only the change of one into
 * the other: what came is decrypted into a buffer that conn_input() shows, before each step; what goes is
 * encrypted when it leaves, so what one turn has for a client is one record and one send. Backpressure,
 * half-closed sockets and departures are those of plain connections. (libevent's own filter would hide the
 * socket from out.c, and has its own opinions on all of these.)
 *
 * OpenSSL reads and writes through a BIO of ours that never blocks: its output is gathered in one buffer for
 * all connections and put on the wire as soon as OpenSSL returns.
 */
#include "base/base.h"
#include "worker/http/conn.h"
#include "base/bug.h"
#include "conf/conf.h"
#include "conf/tls.h"
#include "shm/stats.h"

#include <event2/buffer.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

/* With forward secrecy and authentication, all of TLS 1.2's that have them in hardware or are fast without. */
#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define GROUPS "X25519:P-256:P-384"
/* How long a session may be resumed, in s. */
#define SESSION_LIFE_S 3600
/* The largest record. */
#define RECORD_BYTES (16 << 10)

struct tls {
	SSL *ssl;
	struct evbuffer *clear; /* decrypted, and not taken yet */
	bool ended;		/* the client will send no more */
};

struct tls_common {
	SSL_CTX *ctx;
	BIO_METHOD *method;
	struct buf out; /* encrypted, on its way to out.c */
	struct log_rate failures;
	unsigned char record[RECORD_BYTES];
};

/* ---- our BIO ---- */

static int take_wire(BIO *bio, char *to, int len)
{
	struct conn *c = BIO_get_data(bio);
	int n = evbuffer_remove(socket_input(c), to, (size_t)len);

	BIO_clear_retry_flags(bio);
	if (n > 0)
		return n;
	BIO_set_retry_read(bio);
	return -1;
}

static int put_wire(BIO *bio, const char *from, int len)
{
	struct conn *c = BIO_get_data(bio);

	buf_add(&c->http->tls->out, from, (size_t)len);
	return len;
}

static long control(BIO *bio, int command, long number, void *argument)
{
	return command == BIO_CTRL_FLUSH;
}

/* What OpenSSL had to say goes on the wire. */
static void send_wire(struct conn *c)
{
	struct buf *out = &c->http->tls->out;

	if (out->len)
		socket_send(c, &(struct iovec){ out->data, out->len }, 1);
	buf_clear(out);
}

/* ---- what all connections share ---- */

/* The client's first choice among ours (RFC 7301): HTTP/2 goes first. */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_len,
	const unsigned char *offered, unsigned offered_len, void *arg)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";

	return SSL_select_next_proto((unsigned char **)chosen, chosen_len, ours, sizeof(ours) - 1, offered,
		       offered_len) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void set_up(SSL_CTX *ctx, const struct conf *conf)
{
	static const int versions[] = { [CONF_TLS_1_2] = TLS1_2_VERSION, [CONF_TLS_1_3] = TLS1_3_VERSION };
	static const unsigned char scope[] = "headgate";
	unsigned char ticket_key[sizeof(conf->tls.ticket_key)];

	BUG_ON(!SSL_CTX_set_min_proto_version(ctx, versions[conf->tls_min_version]));
	BUG_ON(!SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) || !SSL_CTX_set1_groups_list(ctx, GROUPS));
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	/* tickets only: a session may be resumed at any worker, and none of them keeps one */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, SESSION_LIFE_S);
	SSL_CTX_set_session_id_context(ctx, scope, sizeof(scope) - 1);
	memcpy(ticket_key, conf->tls.ticket_key, sizeof(ticket_key));
	BUG_ON(SSL_CTX_set_tlsext_ticket_keys(ctx, ticket_key, sizeof(ticket_key)) != 1);
	explicit_bzero(ticket_key, sizeof(ticket_key));
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	if (conf->tls.pem[CONF_TLS_CLIENT_CA])
		SSL_CTX_set_verify(ctx,
			SSL_VERIFY_PEER | (conf->tls_client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
			NULL);
}

bool tls_open(struct http *http)
{
	struct tls_common *tls;
	enum conf_tls_file which;
	char *wrong;

	if (!http->conf->tls.pem[CONF_TLS_CERTIFICATE])
		return true;
	tls = http->tls = xcalloc(1, sizeof(*tls));
	tls->ctx = SSL_CTX_new(TLS_server_method());
	tls->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "client");
	BUG_ON(!tls->ctx || !tls->method);
	BIO_meth_set_read(tls->method, take_wire);
	BIO_meth_set_write(tls->method, put_wire);
	BIO_meth_set_ctrl(tls->method, control);
	wrong = tls_use(&http->conf->tls, tls->ctx, &which);
	if (wrong)
		log_error("http", "chat.websocket.tls %s", wrong);
	else
		set_up(tls->ctx, http->conf);
	free(wrong);
	return !wrong;
}

void tls_close(struct http *http)
{
	if (!http->tls)
		return;
	SSL_CTX_free(http->tls->ctx);
	BIO_meth_free(http->tls->method);
	buf_release(&http->tls->out);
	free(http->tls);
	http->tls = NULL;
}

/* ---- one connection ---- */

static void begin(struct conn *c)
{
	struct tls *tls = c->tls = xcalloc(1, sizeof(*tls));
	BIO *bio = BIO_new(c->http->tls->method);

	tls->ssl = SSL_new(c->http->tls->ctx);
	tls->clear = evbuffer_new();
	BUG_ON(!tls->ssl || !bio || !tls->clear);
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	SSL_set_accept_state(tls->ssl);
}

void tls_free(struct conn *c)
{
	if (!c->tls)
		return;
	SSL_free(c->tls->ssl);
	evbuffer_free(c->tls->clear);
	free(c->tls);
	c->tls = NULL;
}

struct evbuffer *tls_clear(const struct conn *c)
{
	return c->tls->clear;
}

/* OpenSSL gave up; the alert that says why to the client is sent before this. */
static void fail(struct conn *c, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	uint64_t missed;

	stat_add(STAT_TLS_FAILED, 1);
	if (log_rate_ok(&c->http->tls->failures, &missed))
		log_info("http", "%s: %s failed: %s (%" PRIu64 " more like this)", c->peer, what,
			reason ? reason : "unknown reason", missed);
	ERR_clear_error();
	c->lost = true;
}

void tls_receive(struct conn *c)
{
	struct tls *tls = c->tls;
	struct evbuffer *wire = socket_input(c);
	unsigned char *record = c->http->tls->record;
	size_t n;

	if (c->phase == CONN_TLS || c->phase == CONN_DEAD)
		return;
	while (!tls->ended && !c->lost && (evbuffer_get_length(wire) || SSL_has_pending(tls->ssl)) &&
		evbuffer_get_length(tls->clear) < c->http->input_max) {
		ERR_clear_error();
		if (SSL_read_ex(tls->ssl, record, RECORD_BYTES, &n)) {
			evbuffer_add(tls->clear, record, n);
			continue;
		}
		switch (SSL_get_error(tls->ssl, 0)) {
		case SSL_ERROR_WANT_READ:
			send_wire(c);
			return;
		case SSL_ERROR_ZERO_RETURN:
			tls->ended = c->eof = true;
			break;
		default:
			send_wire(c);
			fail(c, "TLS");
		}
	}
	send_wire(c);
}

void tls_send(struct conn *c, const struct iovec *parts, unsigned n)
{
	size_t written;

	ERR_clear_error();
	for (unsigned i = 0; i < n && !c->lost; i++) {
		if (parts[i].iov_len &&
			!SSL_write_ex(c->tls->ssl, parts[i].iov_base, parts[i].iov_len, &written)) {
			fail(c, "TLS");
			conn_settle_later(c);
		}
	}
	send_wire(c);
}

void tls_say_goodbye(struct conn *c)
{
	ERR_clear_error();
	SSL_shutdown(c->tls->ssl);
	send_wire(c);
	ERR_clear_error();
}

/* ---- the handshake ---- */

/* A browser that was told http:// sends letters, where TLS begins with a byte of 22. */
static bool refuse_plain(struct conn *c, unsigned char first)
{
	if (first < 'A' || first > 'Z')
		return false;
	h1_refuse(c, END_BAD_REQUEST, "this port speaks TLS only: ask for https://");
	return true;
}

static void welcome(struct conn *c)
{
	const unsigned char *protocol;
	unsigned len;

	stat_add(STAT_TLS_HANDSHAKES, 1);
	if (SSL_session_reused(c->tls->ssl))
		stat_add(STAT_TLS_RESUMED, 1);
	c->phase = CONN_HEAD;
	SSL_get0_alpn_selected(c->tls->ssl, &protocol, &len);
	if (len == 2 && !memcmp(protocol, "h2", 2))
		h2_begin(c);
}

/* Nothing can be done now: is this the end? */
static bool wait_for_more(struct conn *c)
{
	if (!c->eof && !c->timed_out)
		return false;
	if (c->tls)
		stat_add(STAT_TLS_FAILED, 1);
	c->phase = CONN_DEAD;
	return true;
}

bool tls_step(struct conn *c)
{
	unsigned char first;
	int result;

	if (!c->tls) {
		if (evbuffer_copyout(socket_input(c), &first, 1) < 1)
			return wait_for_more(c);
		if (refuse_plain(c, first))
			return true;
		begin(c);
	}
	ERR_clear_error();
	result = SSL_do_handshake(c->tls->ssl);
	send_wire(c);
	if (result == 1)
		welcome(c);
	else if (SSL_get_error(c->tls->ssl, result) == SSL_ERROR_WANT_READ)
		return wait_for_more(c);
	else
		fail(c, "TLS handshake");
	return true;
}
