/* SPDX-License-Identifier: Apache-2.0 */
/* The header in C++, with all warnings as errors: names, constants and calls of it. */
#include <openvmnet.h>

#include <cstring>

int main()
{
    const char *const options[] = {"mode=fast", nullptr};
    openvmnet_error error;
    openvmnet_port *port = openvmnet_attach(options, &error);

    if (port || error.code >= 0 || !std::strstr(error.text, "fast"))
        return 1;
    openvmnet_port_free(&port);
    return openvmnet_version() == OPENVMNET_VERSION_NUMBER ? 0 : 1;
}
