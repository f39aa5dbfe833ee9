/* SPDX-License-Identifier: BSD-2-Clause */
/* The segment: made, refused, attached read-only; worker slots; and the drawing of its layout. */
#include "base/base.h"
#include "base/bug.h"
#include "base/clock.h"
#include "shm/tokens.h"
#include "shm_unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static const struct shm_gate_spec gates[] = { { "places", 100 }, { "llm.a", 25 }, { "llm.b", 3 } };
static const struct shm_window_spec windows[] = { { "rpm.a", 3500, 60000 }, { "rpm.b", 0, 60000 } };
static const char *const providers[] = { "a", "b" };
static const struct shm_client_spec clients[] = { { "alice", 3, 0, 60, 5000 }, { "bob", 0, 7, 0, 0 } };
static const struct shm_spec spec = { .nslots = 5, .ngates = 3, .gates = gates, .nwindows = 2,
	.windows = windows, .nproviders = 2, .providers = providers, .pending = 50, .nclients = 2,
	.clients = clients, .client_room = 3, .client_window_ms = 60000 };

static struct shm *create(void)
{
	char error[256];
	struct shm *shm;

	unit_place();
	shm = shm_create(unit_path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	return unit_shm = shm;
}

static void refused(const char *why)
{
	char error[256] = "";

	ck_assert_ptr_null(shm_attach(unit_path, error));
	ck_assert_msg(strstr(error, why) != NULL, "'%s' does not say '%s'", error, why);
	ck_assert_msg(strstr(error, unit_path) != NULL, "'%s' does not name the file", error);
}

START_TEST(tools_see_what_the_master_made)
{
	struct shm *shm = create(), *tool;
	struct gate_reading gate;
	struct window_reading window;
	struct tokens_reading tokens;
	struct stat st;
	char error[256];

	tool = shm_attach(unit_path, error);
	ck_assert_msg(tool != NULL, "%s", error);
	ck_assert_int_eq(stat(unit_path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0640);
	ck_assert_uint_eq(shm_nslots(tool), 5);
	ck_assert_uint_eq(shm_ngates(tool), 3);
	ck_assert_uint_eq(shm_nwindows(tool), 2);
	ck_assert_uint_eq(shm_nproviders(tool), 2);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_str_eq(shm_gate_name(tool, i), gates[i].name);
		gate_read(tool, i, &gate);
		ck_assert_uint_eq(gate.limit, gates[i].limit);
	}
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_str_eq(shm_window_name(tool, i), windows[i].name);
		window_read(tool, i, clock_ms(), &window);
		ck_assert_uint_eq(window.limit, windows[i].limit);
		ck_assert_str_eq(shm_provider_name(tool, i), providers[i]);
	}
	ck_assert_uint_eq(shm_nclients(tool), 2);
	ck_assert_str_eq(shm_client_name(tool, 1), "bob");
	ck_assert_str_eq(shm_gate_name(tool, SHM_GATE_CLIENT_PLACES(0)), "clients.keys.alice.max_connections");
	gate_read(tool, SHM_GATE_CLIENT_PLACES(0), &gate);
	ck_assert_uint_eq(gate.limit, 3);
	gate_read(tool, SHM_GATE_CLIENT_REQUESTS(0), &gate);
	ck_assert_uint_eq(gate.limit, SHM_NO_LIMIT);
	window_read(tool, SHM_WINDOW_CLIENT(0), clock_ms(), &window);
	ck_assert_uint_eq(window.limit, 60);
	tokens_read(tool, SHM_TOKENS_CLIENT(0), clock_ms(), &tokens);
	ck_assert_uint_eq(tokens.limit, 5000);
	gate_read(tool, SHM_GATE_PENDING, &gate);
	ck_assert_uint_eq(gate.limit, 50);
	ck_assert_int_eq(shm_master_pid(tool), getpid());
	ck_assert(shm_master_alive(tool));
	ck_assert(!shm_draining(tool));
	shm_set_draining(shm);
	ck_assert(shm_draining(tool));
	gate_set_limit(shm, 1, 7);
	gate_read(tool, 1, &gate);
	ck_assert_uint_eq(gate.limit, 7);
	unit_books_balance(tool);
	shm_close(tool, false);
	unit_close();
	ck_assert_int_eq(access(unit_path, F_OK), -1);
	refused("No such file");
}
END_TEST

/* All parts, from the first to the last byte, without one lying in another. */
START_TEST(parts_do_not_overlap)
{
	struct shm *shm = create();
	const struct shm_header *h = shm->header;
	struct shm_window *window = shm_window_at(shm, 0);

	ck_assert_uint_ge(h->slots_at, sizeof(*h));
	ck_assert_uint_ge(h->gates_at, h->slots_at + 5 * sizeof(struct shm_slot));
	ck_assert_uint_ge(h->windows_at, h->gates_at + 3 * h->gate_bytes);
	ck_assert_uint_eq(h->gate_bytes, sizeof(struct shm_gate) + 6 * sizeof(struct gate_cell));
	ck_assert_uint_ge(window->ring_at, h->windows_at + 2 * sizeof(struct shm_window));
	ck_assert_uint_ge(window->capacity, 4 * 3500);
	for (unsigned i = 0; i < 2; i++, window++) {
		ck_assert_uint_eq(window->hints_at, window->ring_at + window->capacity * 8);
		ck_assert_uint_le(window->hints_at + window->capacity * 4, i ? h->providers_at : window[1].ring_at);
	}
	ck_assert_uint_ge(h->stats_at, h->providers_at + 2 * SHM_NAME_BYTES);
	ck_assert_uint_ge(h->standing_at, h->stats_at + SHM_LINE + 7 * h->stats_block_bytes);
	ck_assert_uint_ge(h->house_at, h->standing_at + 2 * sizeof(struct shm_standing));
	ck_assert_uint_ge(h->client_names_at, h->house_at + 7 * h->gate_bytes);
	ck_assert_uint_ge(h->client_tokens_at, h->client_names_at + 3 * SHM_NAME_BYTES);
	ck_assert_uint_ge(h->client_windows_at, h->client_tokens_at + 3 * sizeof(struct shm_tokens));
	window = shm_window_at(shm, SHM_WINDOW_CLIENT(0));
	for (unsigned i = 0; i < 3; i++, window++) {
		ck_assert_uint_ge(window->ring_at, h->client_windows_at + 3 * sizeof(struct shm_window));
		ck_assert_uint_eq(window->hints_at, window->ring_at + window->capacity * 8);
		ck_assert_uint_le(window->hints_at + window->capacity * 4, i < 2 ? window[1].ring_at : h->flows_at);
	}
	ck_assert_uint_ge(h->flow_bytes, h->nflows * 8);
	ck_assert_uint_ge(h->total_bytes, h->flows_at + 3 * 6 * h->flow_bytes);
	ck_assert_uint_ge(h->stats_block_bytes, sizeof(struct stats_block) + 2 * sizeof(struct stats_provider));
	ck_assert_uint_eq((h->slots_at | h->gates_at | h->windows_at | h->stats_at | h->stats_block_bytes | h->standing_at |
		h->house_at | h->client_tokens_at | h->client_windows_at | h->addresses_at | h->flows_at | h->flow_bytes) % SHM_LINE, 0);
}
END_TEST

START_TEST(keys_come_later_while_there_is_room)
{
	struct shm *shm = create();
	struct shm_client_spec carol = { "carol", 1, 2, 3, 4 }, dave = { "dave", 0, 0, 0, 0 };
	struct gate_reading gate;

	ck_assert(shm_client_install(shm, 2, &carol));
	ck_assert_uint_eq(shm_nclients(shm), 3);
	ck_assert(!shm_client_install(shm, 3, &dave));
	carol.requests_per_minute = 1u << 23;
	ck_assert(!shm_client_install(shm, 2, &carol));
	ck_assert(shm_client_install(shm, 1, &dave)); /* instead of bob */
	ck_assert_str_eq(shm_client_name(shm, 1), "dave");
	gate_read(shm, SHM_GATE_CLIENT_REQUESTS(1), &gate);
	ck_assert_uint_eq(gate.limit, SHM_NO_LIMIT);
	unit_close();
}
END_TEST

START_TEST(a_living_master_keeps_its_segment)
{
	struct shm *mine = create(), *next;
	char error[256] = "";
	pid_t pid;
	int status;

	ck_assert_ptr_null(shm_create(unit_path, &spec, error));
	ck_assert_msg(strstr(error, "belongs to a running headgate") != NULL, "%s", error);
	/* an upgrade may put another one in its place; closing the old one leaves it there */
	next = shm_replace(unit_path, &spec, error);
	ck_assert_msg(next != NULL, "%s", error);
	unit_close();
	ck_assert_int_eq(access(unit_path, F_OK), 0);
	/* one that a dead master left is replaced: its pid, even where it lives again, has another start */
	pid = fork();
	if (pid == 0) {
		shm_bind(next, SHM_MASTER, NULL);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ck_assert(!shm_master_alive(next));
	atomic_store(&next->header->master_pid, getpid());
	atomic_store(&next->header->master_start, 1);
	ck_assert(!shm_master_alive(next));
	mine = shm_create(unit_path, &spec, error);
	ck_assert_msg(mine != NULL, "%s", error);
	ck_assert(shm_master_alive(mine));
	shm_close(next, false);
	shm_close(mine, true);
}
END_TEST

START_TEST(what_is_not_fit_is_refused_politely)
{
	struct shm *shm = create();
	struct shm_header *h = shm->header;

	atomic_store(&h->ready, 0);
	refused("not ready");
	atomic_store(&h->ready, 1);
	h->abi++;
	refused("another ABI");
	h->abi--;
	h->layout_hash++;
	refused("another layout");
	h->layout_hash--;
	h->total_bytes++;
	refused("damaged");
	h->total_bytes--;
	h->magic++;
	refused("not a headgate segment");
	h->magic--;
	ck_assert_int_eq(truncate(unit_path, 100), 0);
	refused("not a headgate segment");
}
END_TEST

START_TEST(what_else_is_at_the_path_is_not_in_the_way)
{
	struct shm *shm;
	char error[256];
	int fd;

	unit_place();
	fd = open(unit_path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(write(fd, "garbage", 7), 7);
	close(fd);
	refused("not a headgate segment");
	shm = shm_create(unit_path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	shm_close(shm, true);
	ck_assert_ptr_null(shm_create("/nonexistent/dir/segment", &spec, error));
	ck_assert_msg(strstr(error, "No such file") != NULL, "%s", error);
}
END_TEST

START_TEST(a_slot_lives_again)
{
	struct shm *shm = create();
	struct slot_reading r;
	uint64_t now = clock_ms();

	ck_assert(!shm_hearts_beat(shm, now, 1000)); /* nobody is ready */
	ck_assert_uint_eq(shm_slot_claim(shm, 2, now), 1);
	shm_slot_set_pid(shm, 2, 4711);
	shm_slot_read(shm, 2, &r);
	ck_assert_int_eq(r.state, SLOT_STARTING);
	ck_assert_int_eq(r.pid, 4711);
	ck_assert_uint_eq(r.generation, 1);
	ck_assert_uint_eq(r.started_ms, now);
	ck_assert(!shm_hearts_beat(shm, now, 1000));
	shm_slot_set_state(shm, 2, SLOT_READY);
	ck_assert(shm_hearts_beat(shm, now + 1000, 1000));
	ck_assert(!shm_hearts_beat(shm, now + 1001, 1000));
	shm_slot_beat(shm, 2, now + 500);
	ck_assert(shm_hearts_beat(shm, now + 1001, 1000));
	/* one that starts does no harm, unless it takes too long */
	shm_slot_claim(shm, 0, now + 500);
	ck_assert(shm_hearts_beat(shm, now + 1500, 1000));
	shm_slot_beat(shm, 2, now + 9000);
	ck_assert(!shm_hearts_beat(shm, now + 9000, 1000));
	shm_reclaim(shm, 0);
	ck_assert(shm_hearts_beat(shm, now + 9000, 1000));
	shm_slot_set_pid(shm, 2, 0); /* in the middle of what follows */
	shm_slot_read(shm, 2, &r);
	ck_assert_int_eq(r.state, SLOT_EMPTY);
	shm_reclaim(shm, 2);
	shm_slot_read(shm, 2, &r);
	ck_assert_int_eq(r.state, SLOT_EMPTY);
	ck_assert_int_eq(r.pid, 0);
	ck_assert_uint_eq(shm_slot_claim(shm, 2, now), 2);
}
END_TEST

START_TEST(last_words_outlive_their_process)
{
	struct shm *shm = create();
	pid_t pid;
	int status;

	shm_slot_claim(shm, 1, clock_ms());
	pid = fork();
	if (pid == 0) {
		close(STDERR_FILENO);
		shm_bind(shm, 1, NULL);
		BUG_ON(shm_nslots(shm) == 5);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_ptr_nonnull(strstr(shm_slot_last_words(shm, 1), "shm_nslots(shm) == 5"));
	shm_reclaim(shm, 1);
	ck_assert_ptr_nonnull(strstr(shm_slot_last_words(shm, 1), "shm_nslots(shm) == 5"));
	shm_slot_claim(shm, 1, clock_ms());
	ck_assert_str_eq(shm_slot_last_words(shm, 1), "");
}
END_TEST

/* ---- doc/shm-layout.md ---- */

#define FIELD(type, member)                                                                     \
	{ #type "." #member, offsetof(struct type, member), sizeof(((struct type *)0)->member) }
#define WHOLE(type) { #type, 0, sizeof(struct type) }

static const struct drawn {
	const char *name;
	size_t offset, bytes;
} layout[] = {
	WHOLE(shm_header), FIELD(shm_header, magic), FIELD(shm_header, abi), FIELD(shm_header, nslots),
	FIELD(shm_header, layout_hash), FIELD(shm_header, total_bytes), FIELD(shm_header, ngates),
	FIELD(shm_header, nwindows), FIELD(shm_header, nproviders), FIELD(shm_header, gate_bytes),
	FIELD(shm_header, slots_at), FIELD(shm_header, gates_at), FIELD(shm_header, windows_at),
	FIELD(shm_header, providers_at), FIELD(shm_header, stats_at),
	FIELD(shm_header, stats_block_bytes), FIELD(shm_header, standing_at), FIELD(shm_header, started_ms),
	FIELD(shm_header, house_at), FIELD(shm_header, client_names_at), FIELD(shm_header, client_windows_at),
	FIELD(shm_header, flows_at), FIELD(shm_header, flow_bytes), FIELD(shm_header, flow_seed),
	FIELD(shm_header, nflows), FIELD(shm_header, nclients), FIELD(shm_header, clients_used),
	FIELD(shm_header, writer),
	FIELD(shm_header, master_start), FIELD(shm_header, master_pid), FIELD(shm_header, draining),
	FIELD(shm_header, ready), FIELD(shm_header, providers_used), FIELD(shm_header, gates_used),
	FIELD(shm_header, windows_used), FIELD(shm_header, slots_used), FIELD(shm_header, generation),
	FIELD(shm_header, reload), FIELD(shm_reload, version), FIELD(shm_reload, result),
	FIELD(shm_reload, at_ms), FIELD(shm_reload, good), FIELD(shm_reload, failed),
	FIELD(shm_reload, text), FIELD(shm_header, tallies_at),
	FIELD(shm_header, client_tokens_at), FIELD(shm_header, cluster_at), FIELD(shm_header, addresses_at),
	WHOLE(shm_slot), FIELD(shm_slot, state), FIELD(shm_slot, pid), FIELD(shm_slot, generation),
	FIELD(shm_slot, started_ms), FIELD(shm_slot, door), FIELD(shm_slot, conf_generation),
	FIELD(shm_slot, heartbeat_ms), FIELD(shm_slot, last_words),
	WHOLE(shm_gate), FIELD(shm_gate, used), FIELD(shm_gate, learnt), FIELD(shm_gate, line), FIELD(shm_gate, limit),
	FIELD(shm_gate, retired_grants), FIELD(shm_gate, last_grant_us), FIELD(shm_gate, interval_us),
	FIELD(shm_gate, name), FIELD(shm_gate, lease), FIELD(shm_gate, refused),
	WHOLE(gate_cell), FIELD(gate_cell, head), FIELD(gate_cell, held), FIELD(gate_cell, version),
	FIELD(gate_cell, waiting), FIELD(gate_cell, grants), FIELD(gate_cell, flow), FIELD(gate_cell, came),
	WHOLE(shm_window), FIELD(shm_window, cursor), FIELD(shm_window, hint_head),
	FIELD(shm_window, hint_tail), FIELD(shm_window, limit), FIELD(shm_window, window_ms),
	FIELD(shm_window, capacity), FIELD(shm_window, reserved), FIELD(shm_window, ring_at),
	FIELD(shm_window, hints_at), FIELD(shm_window, name),
	FIELD(shm_window, lease), FIELD(shm_window, refused),
	FIELD(shm_tokens, lease), FIELD(shm_tokens, refused),
	WHOLE(shm_lease), FIELD(shm_lease, current), FIELD(shm_lease, copy),
	FIELD(lease_words, limit), FIELD(lease_words, until_ms), FIELD(lease_words, after), FIELD(lease_words, rise_ms),
	FIELD(lease_words, rise_to), FIELD(lease_words, keep), FIELD(lease_words, keep_until_ms),
	FIELD(lease_words, target), FIELD(lease_words, total),
	WHOLE(shm_cluster), FIELD(shm_cluster, clustered), FIELD(shm_cluster, state), FIELD(shm_cluster, incarnation),
	FIELD(shm_cluster, calls), FIELD(shm_cluster, since_ms), FIELD(shm_cluster, members),
	FIELD(shm_cluster, nodes), FIELD(shm_cluster, mismatches), FIELD(shm_cluster, agent_pid),
	FIELD(shm_cluster, node), FIELD(shm_cluster, q), FIELD(shm_cluster, noted), FIELD(shm_cluster, epoch),
	FIELD(shm_cluster, renewal), WHOLE(shm_renewal), FIELD(shm_renewal, seq), FIELD(shm_renewal, sent_ms),
	FIELD(shm_renewal, received_ms),
	WHOLE(shm_stats), FIELD(shm_stats, version),
	WHOLE(shm_tally), FIELD(shm_tally, is), FIELD(shm_tally, group), FIELD(shm_tally, name),
	FIELD(stats_phist, sum_us), FIELD(stats_phist, bucket),
	FIELD(stats_usage, sum), FIELD(stats_usage, bucket),
	WHOLE(shm_standing), FIELD(shm_standing, budget), FIELD(shm_standing, circuit),
	FIELD(shm_standing, circuit_recent), FIELD(shm_standing, circuit_opened),
	FIELD(shm_standing, learnt), FIELD(shm_standing, learn_cut_after_ms),
	FIELD(shm_standing, learn_cuts), FIELD(shm_standing, parked_until_ms),
	FIELD(shm_standing, tokens), WHOLE(shm_tokens), FIELD(shm_tokens, limit),
	FIELD(shm_tokens, window_ms), FIELD(shm_tokens, word),
};

/* Each line `| name | offset | bytes |...` of the drawing is one of these, and each of these a line. */
START_TEST(the_drawing_is_true)
{
	FILE *file = fopen("doc/shm-layout.md", "r");
	bool seen[ARRAY_SIZE(layout)] = { false };
	char line[512], name[64];
	size_t offset, bytes, i;

	ck_assert_msg(file != NULL, "run me from the top of the tree");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "| `%63[^`]` | %zu | %zu |", name, &offset, &bytes) != 3)
			continue;
		for (i = 0; i < ARRAY_SIZE(layout) && strcmp(layout[i].name, name) != 0; i++)
			;
		ck_assert_msg(i < ARRAY_SIZE(layout), "there is no '%s'", name);
		ck_assert_msg(offset == layout[i].offset && bytes == layout[i].bytes,
			"'%s' is at %zu, %zu bytes", name, layout[i].offset, layout[i].bytes);
		seen[i] = true;
	}
	fclose(file);
	for (i = 0; i < ARRAY_SIZE(layout); i++)
		ck_assert_msg(seen[i], "'%s' at %zu, %zu bytes, is not drawn", layout[i].name,
			layout[i].offset, layout[i].bytes);
}
END_TEST

int main(void)
{
	UNIT_RUN("segment", tools_see_what_the_master_made, parts_do_not_overlap, keys_come_later_while_there_is_room,
		a_living_master_keeps_its_segment, what_is_not_fit_is_refused_politely,
		what_else_is_at_the_path_is_not_in_the_way, a_slot_lives_again,
		last_words_outlive_their_process, the_drawing_is_true);
}
