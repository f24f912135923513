/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmnet top`: what passes at each port, live. One screen for each look at the networks; the difference of
 * two looks gives the rates (rates.h). The widest fields are cut, never the numbers: in 80 columns a network
 * name of 15 characters is whole, and what a wider terminal has goes to the names.
 */
#include <curses.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/netspec.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/owner.h"
#include "cli/rates.h"
#include "cli/sample.h"

#define INTERVAL_MS 1000
#define INTERVAL_MIN_S 0.1
#define INTERVAL_MAX_S 3600
#define LINE_MAX_BYTES 512
#define HEADER_ROWS 3

/* Columns and their least widths, which with a space between them make 79: the last stays free. */
enum field {
    NETWORK,
    PORT,
    NAME,
    UP,
    DOWN,
    PACKETS,
    DROPS,
    OWNER,
    FIELDS
};

static const struct {
    const char *title;
    int width;
    bool right;
    int grows; /* shares of what the terminal has beyond 80 columns */
    int most;  /* the width beyond which nothing more comes to it */
} fields[FIELDS] = {
    [NETWORK] = {"NETWORK", 15, false, 1, NET_NAME_MAX},
    [PORT] = {"PORT", 7, false, 0, 7},
    [NAME] = {"NAME", 14, false, 2, NET_HOSTNAME_MAX},
    [UP] = {"UP/s", 5, true, 0, 5},
    [DOWN] = {"DOWN/s", 6, true, 0, 6},
    [PACKETS] = {"PKTS/s", 6, true, 0, 6},
    [DROPS] = {"DROPS", 5, true, 0, 5},
    [OWNER] = {"OWNER", 14, false, 1, 24},
};

static const struct {
    int key;
    enum rates_order order;
    const char *name;
} orders[] = {
    {'u', RATES_BY_UP, "up"},
    {'d', RATES_BY_DOWN, "down"},
    {'n', RATES_BY_NAME, "name"},
    {'r', RATES_BY_DROPS, "drops"},
};
#define ORDERS (sizeof(orders) / sizeof(orders[0]))

struct top {
    const char *network; /* NULL: all */
    unsigned interval_ms;
    enum rates_order order;
    json_t *before, *after; /* looks; NULL before the first */
    uint64_t before_ms, after_ms;
    struct err err; /* of the last look; "" where it was complete */
    bool quit;
};

/* The number of the signal that asks for the end. A handler can reach nothing else. */
static volatile sig_atomic_t end_signal;

static void on_end_signal(int number)
{
    end_signal = number;
}

/* Those that end a program also restore the terminal first; ncurses leaves handlers that it finds alone. */
static void catch_end_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    struct sigaction action = {.sa_handler = on_end_signal};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &action, NULL);
}

/* ---- one look */

static void look(struct top *top)
{
    json_t *states;

    top->err.text[0] = '\0';
    sample_take(top->network, &states, &top->err);
    json_decref(top->before);
    top->before = top->after;
    top->before_ms = top->after_ms;
    top->after = states;
    top->after_ms = clock_now_ms();
}

/* ---- the screen */

/* Only ASCII is as wide as it is long, and names of networks and machines have nothing else. */
static void put_text(char *line, const char *text, int width, bool right)
{
    char cut[LINE_MAX_BYTES];
    int len = snprintf(cut, sizeof(cut), "%s", text);

    for (char *c = cut; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (len > width && width > 0)
        snprintf(cut + width - 1, 2, "~");
    len = (int)strlen(line);
    snprintf(line + len, LINE_MAX_BYTES - (size_t)len, right ? "%*s " : "%-*s ", width, cut);
}

static void choose_widths(int columns, int ret_widths[FIELDS])
{
    int rest = columns - OUTPUT_WIDTH, shares = 0;

    for (int i = 0; i < FIELDS; i++) {
        ret_widths[i] = fields[i].width;
        shares += fields[i].grows;
    }
    for (int i = 0; i < FIELDS && rest > 0; i++) {
        ret_widths[i] += rest * fields[i].grows / shares;
        if (ret_widths[i] > fields[i].most)
            ret_widths[i] = fields[i].most;
    }
}

static void show_line(int row, const char *text, int attributes)
{
    attrset(attributes);
    mvaddnstr(row, 0, text, COLS - 1);
    if (attributes & A_REVERSE)
        for (int column = (int)strlen(text); column < COLS - 1; column++)
            mvaddch(row, column, ' ');
    attrset(A_NORMAL);
}

static void show_header(const struct top *top, const struct rates *rates)
{
    char line[LINE_MAX_BYTES], up[OUTPUT_AMOUNT_MAX], down[OUTPUT_AMOUNT_MAX],
        packets[OUTPUT_AMOUNT_MAX], drops[OUTPUT_AMOUNT_MAX], tcp[OUTPUT_AMOUNT_MAX],
        udp[OUTPUT_AMOUNT_MAX], forwards[OUTPUT_AMOUNT_MAX];
    int len = 0;

    snprintf(line, sizeof(line), "%zu network%s, %zu port%s: up %s/s, down %s/s, %s packets/s",
             rates->networks, rates->networks == 1 ? "" : "s", rates->len,
             rates->len == 1 ? "" : "s", output_amount(rates->up_s, up),
             output_amount(rates->down_s, down), output_amount(rates->packets_s, packets));
    show_line(0, line, A_BOLD);
    snprintf(line, sizeof(line), "flows: TCP %s, UDP %s, forwarded %s; drops %s",
             output_amount(rates->tcp_open, tcp), output_amount(rates->udp_open, udp),
             output_amount(rates->forward_open, forwards), output_amount(rates->drops, drops));
    show_line(1, line, A_NORMAL);
    for (size_t i = 0; i < ORDERS; i++)
        len += snprintf(line + len, sizeof(line) - (size_t)len, "%s%c %s%s",
                        i ? ", " : "sort by: ", orders[i].key, orders[i].name,
                        orders[i].order == top->order ? " (now)" : "");
    snprintf(line + len, sizeof(line) - (size_t)len, "; q quit");
    show_line(2, line, A_NORMAL);
}

static void show_titles(const int widths[FIELDS])
{
    char line[LINE_MAX_BYTES] = "";

    for (int i = 0; i < FIELDS; i++)
        put_text(line, fields[i].title, widths[i], fields[i].right);
    show_line(HEADER_ROWS, line, A_REVERSE);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text && *text ? text : "-";
}

static void show_port(int row, const struct rates_port *port, const int widths[FIELDS])
{
    char up[OUTPUT_AMOUNT_MAX], down[OUTPUT_AMOUNT_MAX], packets[OUTPUT_AMOUNT_MAX],
        drops[OUTPUT_AMOUNT_MAX], owner[OWNER_TEXT_MAX], line[LINE_MAX_BYTES] = "";
    const char *texts[FIELDS] = {
        [NETWORK] = port->network,
        [PORT] = text_of(port->port, "interface"),
        [NAME] = text_of(port->port, "name"),
        [UP] = output_amount(port->up_s, up),
        [DOWN] = output_amount(port->down_s, down),
        [PACKETS] = output_amount(port->packets_s, packets),
        [DROPS] = output_amount(port->drops, drops),
        [OWNER] = owner_describe((int)rates_number(port->port, "owner"), owner),
    };

    for (int i = 0; i < FIELDS; i++)
        put_text(line, texts[i], widths[i], fields[i].right);
    show_line(row, line, A_NORMAL);
}

/* The last row says what did not find a place, or what is wrong. */
static void show_footer(const struct top *top, const struct rates *rates, int shown)
{
    char line[LINE_MAX_BYTES] = "";

    if (top->err.text[0])
        snprintf(line, sizeof(line), "%.*s", LINE_MAX_BYTES - 1, top->err.text);
    else if ((size_t)shown < rates->len)
        snprintf(line, sizeof(line), "%zu more", rates->len - (size_t)shown);
    else if (rates->networks == 0)
        snprintf(line, sizeof(line), "no network runs");
    if (*line && LINES > HEADER_ROWS + 1)
        show_line(LINES - 1, output_clean(line), A_BOLD);
}

static void show(struct top *top)
{
    int widths[FIELDS], room = LINES - HEADER_ROWS - 2, shown = 0;
    struct rates rates;

    if (rates_compute(top->before, top->after, top->after_ms - top->before_ms, &rates) < 0)
        return;
    rates_sort(&rates, top->order);
    choose_widths(COLS, widths);
    erase();
    show_header(top, &rates);
    show_titles(widths);
    for (; shown < room && (size_t)shown < rates.len; shown++)
        show_port(HEADER_ROWS + 1 + shown, &rates.ports[shown], widths);
    show_footer(top, &rates, shown);
    refresh();
    rates_done(&rates);
}

/* ---- keys */

static void take_key(struct top *top, int key)
{
    top->quit = top->quit || key == 'q' || key == 'Q';
    for (size_t i = 0; i < ORDERS; i++)
        if (orders[i].key == key)
            top->order = orders[i].order;
}

/* Until the next look is due: keys, a new size of the terminal, its end. */
static void wait_for_keys(struct top *top)
{
    uint64_t due_ms = top->after_ms + top->interval_ms, now_ms;

    while (!top->quit && !end_signal && (now_ms = clock_now_ms()) < due_ms) {
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = poll(&input, 1, (int)(due_ms - now_ms)), key;

        /* Its hang-up, or its end, would be ready for ever. */
        if (ready > 0 && (input.revents & (POLLHUP | POLLERR | POLLNVAL)))
            top->quit = true;
        else if (ready == 0)
            continue;
        /* A change of size interrupts the poll, and is then a key. */
        while (!top->quit && (key = getch()) != ERR)
            take_key(top, key);
        show(top);
    }
}

static enum cli_exit run(struct top *top)
{
    SCREEN *screen = newterm(NULL, stdout, stdin);

    if (!screen)
        return cli_fail(CLI_FAILED,
                        "top: the terminal '%s' is not known here; set TERM, or use 'vmnet status'",
                        getenv("TERM") ? getenv("TERM") : "");
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    curs_set(0);
    while (!top->quit && !end_signal) {
        show(top);
        wait_for_keys(top);
        if (!top->quit && !end_signal)
            look(top);
    }
    endwin();
    delscreen(screen);
    return CLI_DONE;
}

static int read_interval(const char *text, unsigned *ret_interval_ms)
{
    char *end;
    double interval_s;

    if (!text)
        return 0;
    errno = 0;
    interval_s = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(interval_s) || interval_s < INTERVAL_MIN_S ||
        interval_s > INTERVAL_MAX_S)
        return -EINVAL;
    *ret_interval_ms = (unsigned)(interval_s * 1000);
    return 0;
}

static enum cli_exit top_run(const struct cli_args *args)
{
    struct top top = {.interval_ms = INTERVAL_MS, .order = RATES_BY_DOWN};
    enum cli_exit code;

    if (args->argc > 0 && net_name_check(args->argv[0], &top.err) < 0)
        return cli_fail(CLI_USAGE, "top: %s", top.err.text);
    if (read_interval(cli_value(args, "interval"), &top.interval_ms) < 0)
        return cli_fail(CLI_USAGE, "top: --interval: write seconds, from %.1f to %d",
                        INTERVAL_MIN_S, INTERVAL_MAX_S);
    if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
        return cli_fail(CLI_USAGE,
                        "top: needs a terminal; 'vmnet status' prints the state once, 'vmnet "
                        "metrics' is for programs");
    top.network = args->argc > 0 ? args->argv[0] : NULL;
    setlocale(LC_CTYPE, ""); /* paths in messages may be UTF-8 */
    look(&top);
    if (top.network && top.err.text[0]) {
        code = cli_fail(CLI_FAILED, "top: %s", top.err.text);
    } else {
        catch_end_signals();
        code = run(&top);
    }
    json_decref(top.before);
    json_decref(top.after);
    /* As if it had not been caught: who waits for us is told. */
    if (end_signal) {
        signal(end_signal, SIG_DFL);
        raise(end_signal);
    }
    return code;
}

int main(int argc, char **argv)
{
    return cli_main("top", top_run, argc, argv);
}
