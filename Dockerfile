# The image of every Airflow component: tasks, connection form and status page need the same code.
FROM apache/airflow:3.3.2

WORKDIR /opt/airflow

# The requirements first: they change seldom, so this layer is seldom built.
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt --constraint constraints.txt

COPY --chown=airflow:root pyproject.toml README.md LICENSE /tmp/project/
COPY --chown=airflow:root include/asset_changes /tmp/project/include/asset_changes
COPY --chown=airflow:root plugins/getty_images /tmp/project/plugins/getty_images
RUN pip install --no-cache-dir --no-deps /tmp/project

# Volumes that are mounted here begin with this owner.
RUN mkdir -p archive logs state

# What Airflow scans. The package getty_images is installed above, not scanned.
COPY plugins/.airflowignore plugins/getty_images_plugin.py plugins/
COPY dags dags
# Airflow has this folder on its path: what its processes import at their start.
COPY config config

# The base image runs as the user airflow, and so does this one.
USER airflow
