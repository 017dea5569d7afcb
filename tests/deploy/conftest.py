def pytest_addoption(parser):
    parser.addoption("--helm", default="helm", help="helm 3 or newer; what needs it is skipped without")
    parser.addoption("--programs", default="build", help="folder with sluice-serve and sluice-route")
