/* SPDX-License-Identifier: BSD-2-Clause */
/* admit: places, and what is said of them. */
#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "unit.h"
#include "worker/admit/admit.h"

#include <fcntl.h>
#include <sys/eventfd.h>

static struct shm *shm;
static struct admit *admit;
static int wake_fd, log_fd;

static void open_house(uint64_t places)
{
	struct shm_gate_spec gate = { admit_limit_name(), places };
	struct shm_spec spec = { .nslots = 1, .ngates = 1, .gates = &gate };
	static const struct conf conf;
	char error[256], path[64], log_path[] = "/tmp/headgate-unit-log-XXXXXX";

	snprintf(path, sizeof(path), "/tmp/headgate-unit-%d", getpid());
	shm = shm_create(path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	shm_slot_claim(shm, 0, clock_ms());
	wake_fd = eventfd(0, EFD_NONBLOCK);
	shm_bind(shm, 0, &wake_fd);
	log_fd = mkstemp(log_path);
	ck_assert_int_ge(log_fd, 0);
	unlink(log_path);
	log_setup(log_fd, LOG_INFO, LOG_CONSOLE);
	admit = admit_open(&conf, shm);
}

static void close_house(void)
{
	struct gate_reading r;

	gate_read(shm, SHM_GATE_PLACES, &r);
	ck_assert_uint_eq(r.used, 0);
	ck_assert_uint_eq(stat_sum(shm, STAT_WEBSOCKETS), 0);
	ck_assert_uint_eq(stat_sum(shm, STAT_STREAMS), 0);
	admit_close(admit);
	shm_close(shm, true);
	close(wake_fd);
	close(log_fd);
}

/* How often the log has this text. */
static unsigned logged(const char *text)
{
	static char all[65536];
	ssize_t n = pread(log_fd, all, sizeof(all) - 1, 0);
	unsigned found = 0;

	ck_assert_int_ge(n, 0);
	all[n] = 0;
	for (const char *at = all; (at = strstr(at, text)); at++)
		found++;
	return found;
}

START_TEST(kinds_share_the_places)
{
	struct admit_place place[6] = { 0 };

	open_house(5);
	for (int i = 0; i < 5; i++)
		ck_assert(admit_enter(admit, &place[i], i % 2 ? ADMIT_STREAM : ADMIT_WEBSOCKET));
	ck_assert(!admit_enter(admit, &place[5], ADMIT_STREAM));
	ck_assert_uint_eq(stat_sum(shm, STAT_WEBSOCKETS), 3);
	ck_assert_uint_eq(stat_sum(shm, STAT_STREAMS), 2);
	ck_assert_uint_eq(logged("WebSocket connection established. Active connections: 5/5\n"), 1);
	ck_assert_uint_eq(logged("established"), 3);
	ck_assert_uint_eq(stat_sum(shm, STAT_ADMITTED), 5);
	ck_assert_uint_eq(stat_sum(shm, STAT_REJECTED_FULL), 1);
	ck_assert_uint_ge(admit_retry_after_ms(admit), 1000);
	/* Who holds none gives none back, however often. */
	admit_leave(admit, &place[5]);
	admit_leave(admit, &place[1]);
	admit_leave(admit, &place[1]);
	ck_assert(admit_enter(admit, &place[5], ADMIT_WEBSOCKET));
	ck_assert(!admit_enter(admit, &place[1], ADMIT_WEBSOCKET));
	ck_assert_uint_eq(stat_sum(shm, STAT_WEBSOCKETS), 4);
	for (int i = 0; i < 6; i++)
		admit_leave(admit, &place[i]);
	admit_poll(admit);
	close_house();
}
END_TEST

START_TEST(a_storm_of_rejections_is_one_line)
{
	struct admit_place holds = { 0 }, wants = { 0 };

	open_house(1);
	ck_assert(admit_enter(admit, &holds, ADMIT_WEBSOCKET));
	for (int i = 0; i < 100; i++)
		ck_assert(!admit_enter(admit, &wants, ADMIT_WEBSOCKET));
	ck_assert_uint_eq(stat_sum(shm, STAT_REJECTED_FULL), 100);
	ck_assert_uint_ge(logged("WebSocket connection rejected: max_connections=1 reached"), 1);
	ck_assert_uint_lt(logged("rejected"), 10);
	admit_leave(admit, &holds);
	close_house();
}
END_TEST

int main(void)
{
	UNIT_RUN("admit", kinds_share_the_places, a_storm_of_rejections_is_one_line);
}
