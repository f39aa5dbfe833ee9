/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: headgate-chat(7) names every error code, with the status and close code that it has. */
#include "base/base.h"
#include "unit.h"
#include "base/buf.h"
#include "shm/endings.h"

static struct buf page;

static void read_page(void)
{
	FILE *f = fopen("man/headgate-chat.7", "r");
	char line[1024];

	ck_assert_msg(f != NULL, "run from the top of the tree");
	while (fgets(line, sizeof(line), f))
		buf_adds(&page, line);
	fclose(f);
}

/* These never reach a client as a code. */
static bool is_silent(enum ending e)
{
	return e == END_COMPLETE || e == END_CLIENT_GONE || e == END_CANCELLED;
}

START_TEST(the_page_names_every_code_that_can_reach_a_client)
{
	char item[128];

	read_page();
	for (enum ending e = 0; e < END_COUNT; e++) {
		const struct ending_facts *facts = &ending_facts[e];

		if (is_silent(e))
			continue;
		if (facts->ws)
			snprintf(item, sizeof(item), "\n.It Cm %s Pq %d , close %d\n", facts->code,
				facts->http, facts->ws);
		else
			snprintf(item, sizeof(item), "\n.It Cm %s Pq %d\n", facts->code, facts->http);
		ck_assert_msg(strstr(page.data, item) != NULL, "headgate-chat(7) has no item%s", item);
	}
}
END_TEST

START_TEST(the_page_names_no_code_that_there_is_not)
{
	unsigned items = 0, codes = 0;

	read_page();
	for (const char *at = page.data; (at = strstr(at, "\n.It Cm ")); at++) {
		const char *end = strchr(at + 1, '\n');
		const char *status = memmem(at, (size_t)(end - at), " Pq ", 4);

		items += status && status[4] >= '4' && status[4] <= '5';
	}
	for (enum ending e = 0; e < END_COUNT; e++)
		codes += !is_silent(e);
	ck_assert_uint_eq(items, codes);
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint_manual", the_page_names_every_code_that_can_reach_a_client,
		the_page_names_no_code_that_there_is_not);
}
